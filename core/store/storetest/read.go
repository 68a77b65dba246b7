package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var readCases = []testCase{
	{"a queue is read page by page until it is drained", paging},
	{"short reads do not mean that a queue is drained", shortReads},
	{"reading at the end finds nothing and stays there", readAtEnd},
	{"an offset beyond the end reads as a reset", readBeyondEnd},
	{"a queue that does not exist is empty", readMissing},
	{"bounds follow the appends", bounds},
	{"the bounds of many queues are those of each", boundsOfMany},
	{"a partition holds every record of the topic once", readPartition},
	{"queues of different topics do not mix", separateQueues},
	{"a read ends with its context", readCancelled},
}

// queueOn appends n numbered messages and returns the only queue that has them.
func (s *suite) queueOn(t *testing.T, n int) (first string, ref store.QueueRef) {
	t.Helper()
	first = s.newTopic(t)
	name := first + "/q"
	var broker string
	for i := range n {
		broker = s.put(t, appendTo(message(name, strconv.Itoa(i)))).Broker
	}
	ref = store.QueueRef{Queue: topic.Queue(name), Broker: broker}
	require.Eventually(t, func() bool {
		b, err := s.Bounds(s.ctx, ref)
		require.NoError(t, err)
		return b.Max == int64(n)
	}, s.Patience, 10*time.Millisecond)
	return first, ref
}

func boundsOfMany(t *testing.T, s *suite) {
	_, ref := s.queueOn(t, 3)
	queues := make([]string, 300)
	for i := range queues {
		queues[i] = ref.Queue + "/" + strconv.Itoa(i)
	}
	queues[7], queues[299] = ref.Queue, ref.Queue
	all, err := s.BoundsOn(s.ctx, ref.Broker, queues)
	require.NoError(t, err)
	require.Len(t, all, len(queues))
	for i, b := range all {
		if queues[i] == ref.Queue {
			require.Equal(t, store.Bounds{Min: 0, Max: 3}, b)
		} else {
			require.Zero(t, b)
		}
	}
	all, err = s.BoundsOn(s.ctx, ref.Broker, nil)
	require.NoError(t, err)
	require.Empty(t, all)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = s.BoundsOn(ctx, ref.Broker, queues)
	require.Error(t, err)
}

func paging(t *testing.T, s *suite) {
	n := s.scaled(100)
	first, ref := s.queueOn(t, n)
	for _, page := range []int{1, 7, 32, 1000} {
		require.Equal(t, numbers(n), payloads(s.drain(t, first, ref.Queue, n, page)))
	}
	b, err := s.Read(s.ctx, ref, 3, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"3", "4"}, payloads(b.Records))
	require.Equal(t, []int64{3, 4}, b.Offsets)
	require.Equal(t, int64(5), b.Next)
	require.Equal(t, int64(0), b.Min)
	require.Equal(t, int64(n), b.Max)
}

func shortReads(t *testing.T, s *suite) {
	first := s.newTopic(t)
	n := s.scaled(100)
	name := first + "/large"
	filler := strings.Repeat("x", 60_000)
	for i := range n {
		s.put(t, appendTo(message(name, fmt.Sprintf("%d %s", i, filler))))
	}
	for i, r := range s.drain(t, first, topic.Queue(name), n, 1000) {
		number, rest, _ := strings.Cut(string(r.Payload), " ")
		require.Equal(t, strconv.Itoa(i), number)
		require.Equal(t, filler, rest)
	}
}

func readAtEnd(t *testing.T, s *suite) {
	_, ref := s.queueOn(t, 3)
	b, err := s.Read(s.ctx, ref, 3, 32)
	require.NoError(t, err)
	require.Equal(t, store.Batch{Next: 3, Min: 0, Max: 3}, bare(b))
}

func readBeyondEnd(t *testing.T, s *suite) {
	_, ref := s.queueOn(t, 3)
	b, err := s.Read(s.ctx, ref, 1000, 32)
	require.NoError(t, err)
	require.Equal(t, store.Batch{Next: 0, Min: 0, Max: 3}, bare(b))
}

func readMissing(t *testing.T, s *suite) {
	first := s.newTopic(t)
	ref := store.QueueRef{Queue: topic.Queue(first + "/nothing/here"), Broker: s.brokers(t, first)[0]}
	for _, offset := range []int64{0, 5} {
		b, err := s.Read(s.ctx, ref, offset, 32)
		require.NoError(t, err)
		require.Equal(t, store.Batch{}, bare(b))
	}
	bounds, err := s.Bounds(s.ctx, ref)
	require.NoError(t, err)
	require.Equal(t, store.Bounds{}, bounds)
}

// bare makes a batch without records comparable.
func bare(b store.Batch) store.Batch {
	if len(b.Records) == 0 {
		b.Records, b.Offsets = nil, nil
	}
	return b
}

func bounds(t *testing.T, s *suite) {
	_, ref := s.queueOn(t, 2)
	b, err := s.Bounds(s.ctx, ref)
	require.NoError(t, err)
	require.Equal(t, store.Bounds{Min: 0, Max: 2}, b)
}

func readPartition(t *testing.T, s *suite) {
	first := s.newTopic(t)
	n := s.scaled(60)
	perPartition := map[store.Partition][]string{}
	for i := range n {
		m := message(fmt.Sprintf("%s/%d", first, i%5), strconv.Itoa(i))
		p := s.put(t, appendTo(m))
		key := store.Partition{Broker: p.Broker, ID: p.Partition}
		perPartition[key] = append(perPartition[key], strconv.Itoa(i))
	}
	for p, want := range perPartition {
		records := s.drainPartition(t, first, p, 0, len(want))
		require.Equal(t, want, payloads(records))
		again := s.drainPartition(t, first, p, records[0].Position.Offset, len(want))
		require.Equal(t, want, payloads(again))
	}
	_, err := s.ReadPartition(s.ctx, "st"+client(), store.Partition{Broker: s.brokers(t, first)[0]}, 0, 1)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

// drainPartition reads a partition from an offset until it has n records.
func (s *suite) drainPartition(t *testing.T, first string, p store.Partition, offset int64, n int) []*store.Record {
	t.Helper()
	var all []*store.Record
	require.Eventually(t, func() bool {
		b, err := s.ReadPartition(s.ctx, first, p, offset, 7)
		require.NoError(t, err)
		s.checkBatch(t, store.QueueRef{Broker: p.Broker}, b, offset, 7)
		for i, r := range b.Records {
			require.Equal(t, p.ID, r.Position.Partition)
			require.Equal(t, b.Offsets[i], r.Position.Offset)
		}
		all = append(all, b.Records...)
		offset = b.Next
		return len(all) >= n
	}, s.Patience, time.Millisecond)
	require.Len(t, all, n)
	return all
}

func separateQueues(t *testing.T, s *suite) {
	one, two := s.newTopic(t), s.newTopic(t)
	s.numbered(t, one+"/x", 3)
	s.numbered(t, two+"/x", 2)
	require.Len(t, s.drain(t, one, topic.Queue(one+"/x"), 3, 32), 3)
	require.Len(t, s.drain(t, two, topic.Queue(two+"/x"), 2, 32), 2)
}

func readCancelled(t *testing.T, s *suite) {
	_, ref := s.queueOn(t, 1)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.Read(ctx, ref, 0, 1)
	require.True(t, errors.Is(err, context.Canceled), "got %v", err)
}
