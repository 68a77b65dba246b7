package storetest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var tailCases = []testCase{
	{"a tail sees every record stored after it began and none before", tailFromNow},
	{"a tail brings nothing that was acknowledged before it began", tailNothingBefore},
	{"a tail's ends are after everything that was acknowledged and before what comes next", tailEnds},
	{"a queue's end is after everything that was acknowledged", boundsNothingBefore},
	{"a tail sees concurrent appends once and in partition order", tailConcurrent},
	{"a tailed record carries its offset in each queue", tailEntries},
	{"several tails of a topic each see everything", severalTails},
	{"a slow handler loses nothing", tailSlow},
	{"a closed tail calls no more and Close waits for the call", tailClose},
	{"a tail of an unknown topic fails with ErrUnknownTopic", tailUnknown},
	{"a queue is tailed across topics", tailQueue},
	{"a tail begun between appends misses nothing after it", tailRace},
}

func (s *suite) tail(t *testing.T, first string) *collector {
	t.Helper()
	c := newCollector()
	tail, err := s.Tail(s.ctx, first, c.f)
	require.NoError(t, err)
	t.Cleanup(tail.Close)
	return c
}

func tailFromNow(t *testing.T, s *suite) {
	first := s.newTopic(t)
	s.put(t, appendTo(message(first+"/x", "before")))
	c := s.tail(t, first)
	n := s.scaled(40)
	s.numbered(t, first+"/x", n)
	require.Equal(t, numbers(n), payloads(c.wait(t, s, n)))
}

func tailNothingBefore(t *testing.T, s *suite) {
	first := s.newTopic(t)
	for i := range s.scaled(60) {
		// The record is acknowledged, but an index may not have it yet.
		s.put(t, appendTo(message(first+"/x", "before")))
		c := s.tail(t, first)
		text := strconv.Itoa(i)
		s.put(t, appendTo(message(first+"/x", text)))
		require.Equal(t, []string{text}, payloads(c.wait(t, s, 1)))
	}
}

func tailEnds(t *testing.T, s *suite) {
	first := s.newTopic(t)
	before := s.put(t, appendTo(message(first+"/x", "before")))
	c := newCollector()
	tail, err := s.Tail(s.ctx, first, c.f)
	require.NoError(t, err)
	t.Cleanup(tail.Close)
	at := func(of store.Position) (begin, end int64) {
		begin, end = -1, -1
		tail.Ends(func(p store.Partition, b, e int64) {
			if p.Broker == of.Broker && p.ID == of.Partition {
				begin, end = b, e
			}
		})
		return begin, end
	}
	begin, end := at(before)
	require.Equal(t, []int64{before.Offset + 1, before.Offset + 1}, []int64{begin, end})
	for range s.scaled(20) {
		p := s.put(t, appendTo(message(first+"/x", "m")))
		began, end := at(p)
		require.Equal(t, p.Offset+1, end)
		if p.Partition == before.Partition && p.Broker == before.Broker {
			require.Equal(t, begin, began)
		}
	}
	queue := topic.Queue(first + "/q")
	p := s.put(t, appendTo(message(first+"/q", "m"), queue))
	ofQueue, err := s.TailQueue(s.ctx, queue, c.f)
	require.NoError(t, err)
	t.Cleanup(ofQueue.Close)
	found := false
	ofQueue.Ends(func(part store.Partition, begin, end int64) {
		if part.Broker == p.Broker {
			found = true
			require.Equal(t, []int64{0, 1, 1}, []int64{int64(part.ID), begin, end})
		}
	})
	require.True(t, found)
}

func boundsNothingBefore(t *testing.T, s *suite) {
	first := s.newTopic(t)
	queue := topic.Queue(first + "/x")
	for i := range s.scaled(60) {
		at := s.put(t, appendTo(message(first+"/x", "m"), queue))
		b, err := s.Bounds(s.ctx, store.QueueRef{Queue: queue, Broker: at.Broker})
		require.NoError(t, err)
		require.Equal(t, int64(i+1), b.Max)
	}
}

func tailConcurrent(t *testing.T, s *suite) {
	const publishers = 8
	first := s.newTopic(t)
	each := s.scaled(300)
	c := s.tail(t, first)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				m := message(first+"/t", fmt.Sprintf("%d %d", p, i))
				m.Publisher = strconv.Itoa(p)
				if _, err := put(s.ctx, s.Store, appendTo(m)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	requireEachOnceInOrder(t, c.wait(t, s, publishers*each), publishers, each)
}

func tailEntries(t *testing.T, s *suite) {
	first := s.newTopic(t)
	own, wild := topic.Queue(first+"/x"), topic.Queue(first+"/+")
	s.put(t, appendTo(message(first+"/y", "shift"), wild))
	c := s.tail(t, first)
	s.put(t, appendTo(message(first+"/x", "m"), own, wild))
	r := c.wait(t, s, 1)[0]
	require.ElementsMatch(t, []store.Entry{{Queue: own, Offset: 0}, {Queue: wild, Offset: 1}}, r.Entries)
	require.Equal(t, "m", string(r.Payload))
	require.Equal(t, first+"/x", r.Topic)
	read := s.drain(t, first, own, 1, 1)[0]
	require.Equal(t, r.ID, read.ID, "tailed and read, a record is the same")
	require.Equal(t, r.Position, read.Position)
	require.ElementsMatch(t, r.Entries, read.Entries)
}

func severalTails(t *testing.T, s *suite) {
	first := s.newTopic(t)
	one, two, three := s.tail(t, first), s.tail(t, first), s.tail(t, first)
	s.numbered(t, first+"/x", 20)
	for _, c := range []*collector{one, two, three} {
		require.Equal(t, numbers(20), payloads(c.wait(t, s, 20)))
	}
}

func tailSlow(t *testing.T, s *suite) {
	first := s.newTopic(t)
	release := make(chan struct{})
	c := newCollector()
	c.block = release
	tail, err := s.Tail(s.ctx, first, c.f)
	require.NoError(t, err)
	defer tail.Close()
	fast := s.tail(t, first)
	const publishers = 8
	each := s.scaled(600)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				m := message(first+"/s", fmt.Sprintf("%d %d", p, i))
				m.Publisher = strconv.Itoa(p)
				if _, err := put(s.ctx, s.Store, appendTo(m)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	requireEachOnceInOrder(t, fast.wait(t, s, publishers*each), publishers, each)
	close(release)
	requireEachOnceInOrder(t, c.wait(t, s, publishers*each), publishers, each)
}

func tailClose(t *testing.T, s *suite) {
	first := s.newTopic(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	tail, err := s.Tail(s.ctx, first, func(store.Partition, []*store.Record) {
		once.Do(func() { close(entered) })
		<-release
	})
	require.NoError(t, err)
	s.put(t, appendTo(message(first+"/x", "1")))
	select {
	case <-entered:
	case <-time.After(s.Patience):
		t.Fatal("the handler was not called")
	}
	closed := make(chan struct{})
	go func() { tail.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("Close returned while the handler ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	select {
	case <-closed:
	case <-time.After(s.Patience):
		t.Fatal("Close did not return after the handler")
	}
	other := s.tail(t, first)
	s.put(t, appendTo(message(first+"/x", "2")))
	other.wait(t, s, 1)
	tail.Close() // a second Close does nothing
}

func tailUnknown(t *testing.T, s *suite) {
	_, err := s.Tail(s.ctx, "st"+client(), func(store.Partition, []*store.Record) {})
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

func tailQueue(t *testing.T, s *suite) {
	queue := topic.P2PBucket(client()) + client()
	one := s.newTopic(t)
	two := one
	if !s.Limits().SingleFeeder {
		two = s.newTopic(t)
	}
	m := message(one+"/p2p/c", "before")
	before := s.put(t, appendTo(m, queue))
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, store.QueueRef{Queue: queue, Broker: before.Broker})
		require.NoError(t, err)
		return b.Max == 1
	}, s.Patience, 10*time.Millisecond)

	c := newCollector()
	c.offset = func(r *store.Record) int64 { at, _ := r.Offset(queue); return at }
	tail, err := s.TailQueue(s.ctx, queue, c.f)
	require.NoError(t, err)
	defer tail.Close()
	want := map[string]bool{}
	for i := range 20 {
		for _, first := range []string{one, two} {
			payload := fmt.Sprintf("%s %d", first, i)
			s.put(t, appendTo(message(first+"/p2p/c", payload), queue, topic.Queue(payload)))
			s.put(t, appendTo(message(first+"/other", "elsewhere")))
			want[payload] = true
			if one == two {
				break
			}
		}
	}
	got := map[string]bool{}
	for _, r := range c.wait(t, s, len(want)) {
		got[string(r.Payload)] = true
	}
	require.Equal(t, want, got)
	for p := range c.last {
		require.Zero(t, p.ID)
	}
}

func tailRace(t *testing.T, s *suite) {
	first := s.newTopic(t)
	stop := make(chan struct{})
	var mu sync.Mutex
	stored := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock() // excludes Tail, so that it is known which records come after it
			_, err := put(s.ctx, s.Store, appendTo(message(first+"/r", strconv.Itoa(i))))
			stored = i + 1
			mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	type begun struct {
		c    *collector
		from int
	}
	var tails []begun
	for range 10 {
		mu.Lock()
		tails = append(tails, begun{s.tail(t, first), stored})
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	for _, b := range tails {
		want := numbers(stored)[b.from:]
		require.Equal(t, append([]string{}, want...), payloads(b.c.wait(t, s, len(want))))
	}
}
