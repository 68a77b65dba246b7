package storetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// If others write to a store, a record counts only if it lies in the topic that holds the first level of its MQTT topic. These cases store
// records elsewhere, with entries in that topic's queues, and expect that no reader brings them.
var strangerCases = []testCase{
	{"a record of another topic that names a queue is read by nobody", strangerIsNotRead},
	{"many records that do not count are read past", strangersAreReadPast},
	{"a group is not handed what does not count, and is not held up by it", strangerIsNotHandedOut},
}

// stranger stores a message to name in a topic that does not hold it, with entries in queues.
func (s *suite) stranger(t *testing.T, in, name string, queues ...string) {
	t.Helper()
	a := appendTo(message(name, "stranger"), queues...)
	a.Topic = in
	s.put(t, a)
}

func (s *suite) wantStrangers(t *testing.T) {
	t.Helper()
	if !s.Strangers {
		t.Skip("nobody but the gateway writes to this store")
	}
}

// awaitEnd waits until a queue ends at an offset.
func (s *suite) awaitEnd(t *testing.T, ref store.QueueRef, end int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, ref)
		return err == nil && b.Max == end
	}, s.Patience, 10*time.Millisecond)
}

func strangerIsNotRead(t *testing.T, s *suite) {
	s.wantStrangers(t)
	first, other := s.newTopic(t), s.newTopic(t)
	name, queue := first+"/q", topic.Queue(first+"/q")
	tails := map[string]*collector{first: newCollector(), other: newCollector(), queue: newCollector()}
	for what, c := range tails {
		follow := s.Tail
		if what == queue {
			follow = s.TailQueue
			c.offset = func(r *store.Record) int64 { at, _ := r.Offset(queue); return at }
		}
		tl, err := follow(s.ctx, what, c.f)
		require.NoError(t, err)
		defer tl.Close()
	}
	s.put(t, appendTo(message(name, "a")))
	s.stranger(t, other, name, queue)
	p := s.put(t, appendTo(message(name, "b")))
	q := s.put(t, appendTo(message(other+"/x", "other")))
	require.Equal(t, []string{"a", "b"}, payloads(s.drain(t, first, queue, 2, 32)))
	require.Equal(t, []string{"a", "b"}, payloads(tails[first].wait(t, s, 2)))
	require.Equal(t, []string{"a", "b"}, payloads(tails[queue].wait(t, s, 2)))
	require.Equal(t, []string{"other"}, payloads(tails[other].wait(t, s, 1)))
	b, err := s.Read(s.ctx, store.QueueRef{Queue: queue, Broker: p.Broker}, 1, 1)
	require.NoError(t, err)
	require.Empty(t, b.Records)
	require.Equal(t, int64(2), b.Next, "the reader goes on after it")
	records := s.drainPartition(t, other, store.Partition{Broker: q.Broker, ID: q.Partition}, 0, 1)
	require.Equal(t, []string{"other"}, payloads(records))
}

func strangersAreReadPast(t *testing.T, s *suite) {
	s.wantStrangers(t)
	first, other := s.newTopic(t), s.newTopic(t)
	name, queue := first+"/q", topic.Queue(first+"/q")
	const n = 80
	for range n {
		s.stranger(t, other, name, queue)
	}
	p := s.put(t, appendTo(message(name, "after")))
	s.awaitEnd(t, store.QueueRef{Queue: queue, Broker: p.Broker}, n+1)
	require.Equal(t, []string{"after"}, payloads(s.drain(t, first, queue, 1, 16)))
}

func strangerIsNotHandedOut(t *testing.T, s *suite) {
	s.wantStrangers(t)
	inTime(confirmed, func(hide time.Duration) bool { return strangerIsHidden(t, s, hide) })
}

func strangerIsHidden(t *testing.T, s *suite, hide time.Duration) bool {
	g, name := s.group(t, "g")
	other := s.newTopic(t)
	s.place(t, g)
	for range 70 {
		s.stranger(t, other, name, g.Queue)
	}
	for i := range 5 {
		s.put(t, appendTo(message(name, strconv.Itoa(i)), g.Queue))
	}
	s.awaitEnd(t, g.QueueRef, 75)
	began := time.Now()
	out := s.popN(t, g, 5, hide)
	s.ack(t, g, out[:3]...)
	if time.Since(began) >= hide {
		return false
	}
	require.Equal(t, numbers(5), handed(out))
	// Records that were not acknowledged come again, even from the place where a broker keeps them for retries; the strangers do not.
	again := s.popN(t, g, 2, hidden)
	require.Equal(t, handed(out[3:]), handed(again))
	s.ack(t, g, again...)
	s.popNothing(t, g, hide+time.Second)
	return true
}
