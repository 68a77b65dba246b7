package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

// crashCases end the stores that they open.
var crashCases = []testCase{
	{"what was acknowledged survives a crash, with its queues, offsets and topics", crash},
	{"a crash in the middle of appends loses nothing acknowledged", crashUnderLoad},
	{"a group goes on after a crash with what was not acknowledged", groupCrash},
}

// expiryCases open stores whose records expire.
var expiryCases = []testCase{
	{"expired records leave the queues from the front", retention},
}

// awaitAnswer waits until a reopened store answers for a topic; a remote store may need some time.
func (s *suite) awaitAnswer(t *testing.T, first string) {
	t.Helper()
	require.Eventually(t, func() bool {
		brokers, err := s.Brokers(s.ctx, first)
		if err != nil || len(brokers) == 0 {
			return false
		}
		_, err = s.Bounds(s.ctx, store.QueueRef{Queue: topic.Queue(first + "/answer"), Broker: brokers[0]})
		return err == nil
	}, max(s.Patience, time.Minute), 50*time.Millisecond, "the store answers again")
}

// openCrashable gives the case a store that it can crash.
func (s *suite) openCrashable(t *testing.T) (crash func(t *testing.T) store.Store) {
	t.Helper()
	if s.OpenCrashable == nil {
		t.Skip("the factory cannot crash the store")
	}
	st, crash := s.OpenCrashable(t)
	s.use(t, st)
	return crash
}

func crash(t *testing.T, s *suite) {
	crash := s.openCrashable(t)
	first := s.newTopic(t)
	who, queue := client(), topic.Queue(first+"/x")
	s.numbered(t, first+"/x", 5)
	ref := store.QueueRef{Queue: queue, Broker: s.brokers(t, first)[0]}
	require.NoError(t, s.Commit(s.ctx, who, 4, []store.Offset{{QueueRef: ref, Next: 3}}))
	before := s.drain(t, first, queue, 5, 32)

	s.Store = crash(t)
	s.awaitAnswer(t, first)
	after := s.drain(t, first, queue, 5, 2)
	for i := range before {
		require.Equal(t, before[i].ID, after[i].ID)
		require.Equal(t, before[i].Position, after[i].Position)
		require.Equal(t, before[i].Entries, after[i].Entries)
		requireMessage(t, &before[i].Message, &after[i].Message)
	}
	s.requireCommitted(t, who, []store.QueueRef{ref}, []store.Offset{{QueueRef: ref, Next: 3}})
	if s.Epochs {
		require.ErrorIs(t, s.Commit(s.ctx, who, 3, nil), store.ErrStaleEpoch)
	}
	c := s.tail(t, first)
	s.put(t, appendTo(message(first+"/x", "5")))
	require.Equal(t, []string{"5"}, payloads(c.wait(t, s, 1)))
	require.Equal(t, numbers(6), payloads(s.drain(t, first, queue, 6, 32)))
}

func crashUnderLoad(t *testing.T, s *suite) {
	crash := s.openCrashable(t)
	st := s.Store
	first := s.newTopic(t)
	const publishers = 8
	var mu sync.Mutex
	acked := make([]int, publishers)
	enough := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	down := make(chan struct{})
	for p := range publishers {
		wg.Go(func() {
			for i := 0; ; i++ {
				m := message(first+"/l", fmt.Sprintf("%d %d", p, i))
				m.Publisher = strconv.Itoa(p)
				if _, err := put(s.ctx, st, appendTo(m)); err != nil {
					return
				}
				select {
				case <-down: // acknowledged by a store that is gone: do not count it
					return
				default:
				}
				mu.Lock()
				acked[p] = i + 1
				mu.Unlock()
				if i == 100 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(s.Patience):
		t.Fatal("no progress")
	}
	mu.Lock()
	want := append([]int(nil), acked...)
	mu.Unlock()
	s.Store = crash(t)
	close(down)
	wg.Wait()
	s.awaitAnswer(t, first)

	next := make([]int, publishers)
	var offset int64
	ref := store.QueueRef{Queue: topic.Queue(first + "/l"), Broker: s.brokers(t, first)[0]}
	for {
		b, err := s.Read(s.ctx, ref, offset, 100)
		require.NoError(t, err)
		for _, r := range b.Records {
			var p, i int
			_, err := fmt.Sscanf(string(r.Payload), "%d %d", &p, &i)
			require.NoError(t, err)
			require.LessOrEqual(t, i, next[p], "a gap of publisher %d", p)
			next[p] = max(next[p], i+1)
		}
		if offset = b.Next; offset >= b.Max {
			break
		}
	}
	for p := range publishers {
		require.GreaterOrEqual(t, next[p], want[p], "publisher %d", p)
	}
}

func retention(t *testing.T, s *suite) {
	if s.OpenExpiring == nil {
		t.Skip("the factory cannot make records expire")
	}
	st, expire := s.OpenExpiring(t)
	s.use(t, st)
	first := s.newTopic(t)
	name := first + "/x"
	queue, wild := topic.Queue(name), topic.Queue(first+"/#")
	ref := store.QueueRef{Queue: queue, Broker: s.brokers(t, first)[0]}
	g := store.Group{Name: "g", QueueRef: ref}
	require.NoError(t, s.PlaceGroup(s.ctx, g, 0))
	s.numbered(t, name, 40, queue, wild)
	s.ack(t, g, s.popN(t, g, 5, 10*hidden)[:2]...) // what is not acknowledged must expire before it comes again
	expire(t)

	b, err := s.Read(s.ctx, ref, 0, 32)
	require.NoError(t, err)
	require.Empty(t, b.Records)
	require.Equal(t, b.Min, b.Max)
	if !s.OffsetsRestart {
		require.Equal(t, store.Batch{Next: 40, Min: 40, Max: 40}, bare(b))
	}
	for i := range 3 {
		s.put(t, appendTo(message(name, strconv.Itoa(40+i)), queue, wild))
	}
	for _, q := range []string{queue, wild} {
		// A store may index a record shortly after it has confirmed it.
		require.Eventually(t, func() bool {
			b, err = s.Read(s.ctx, store.QueueRef{Queue: q, Broker: ref.Broker}, 0, 32)
			return err != nil || len(b.Records) == 3
		}, s.Patience, 5*time.Millisecond)
		require.NoError(t, err)
		require.Equal(t, []string{"40", "41", "42"}, payloads(b.Records))
		if !s.OffsetsRestart {
			require.Equal(t, []int64{40, 41, 42}, b.Offsets)
			require.Equal(t, int64(40), b.Min)
			require.Equal(t, int64(43), b.Next)
		}
	}
	out := s.popN(t, g, 3, hidden)
	require.Equal(t, []string{"40", "41", "42"}, handed(out))
	s.ack(t, g, out...)
}

func groupCrash(t *testing.T, s *suite) {
	crash := s.openCrashable(t)
	var g store.Group
	var name string
	var acked map[string]bool
	inTime(4*time.Second, func(hide time.Duration) bool {
		g, name = s.group(t, "g")
		acked = map[string]bool{}
		s.place(t, g)
		s.numbered(t, name, 60)
		began := time.Now()
		for i, h := range s.popN(t, g, 40, hide) {
			if i%3 != 0 {
				s.ack(t, g, h)
				acked[string(h.Record.Payload)] = true
			}
		}
		return time.Since(began) < hide
	})
	s.Store = crash(t)
	s.awaitAnswer(t, strings.TrimSuffix(name, "/g"))
	s.put(t, appendTo(message(name, "60")))
	rest := map[string]bool{}
	deadline := time.Now().Add(s.Patience)
	for len(rest) < 61-len(acked) {
		require.True(t, time.Now().Before(deadline), "%d of %d records came again", len(rest), 61-len(acked))
		some, err := s.Pop(s.ctx, g, 32, hidden, time.Second)
		require.NoError(t, err)
		s.ack(t, g, some...)
		for _, h := range some {
			require.False(t, acked[string(h.Record.Payload)], "record %s was acknowledged", h.Record.Payload)
			rest[string(h.Record.Payload)] = true
		}
	}
	s.popNothing(t, g, 5*time.Second)
}
