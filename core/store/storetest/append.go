package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var appendCases = []testCase{
	{"every field of a message comes back as it was published", everyField},
	{"an empty payload stays empty", emptyPayload},
	{"a dispatch set of 2000 queues arrives whole", largeDispatchSet},
	{"a record without queues is in its partition only", noQueues},
	{"one key at a time keeps its order while many keys run", orderPerKey},
	{"concurrent appends lose no index entry and keep the order of each publisher", concurrentAppends},
	{"batches of a key keep their order, in all queues, while many keys run", batches},
	{"a batch tells where its last message is stored", batchPositions},
	{"a batch ends in front of what the store refuses", batchWithRefused},
	{"a batch to an unknown topic fails with ErrUnknownTopic", batchUnknownTopic},
	{"positions are unique and ordered in a partition", positions},
	{"the callback comes exactly once", callbackOnce},
	{"an append whose context has ended fails with the context's error", appendCancelled},
	{"a payload just below the limit is stored and a larger one refused", largePayload},
	{"an append to an unknown topic fails with ErrUnknownTopic", appendUnknownTopic},
	{"T/a and T/a/ share a queue and keep their own topics", sharedQueueName},
	{"topics with special characters and of any length have queues of their own", specialTopics},
}

func everyField(t *testing.T, s *suite) {
	first := s.newTopic(t)
	name := first + "/ü/☃ x"
	m := &store.Message{
		Topic: name, Payload: []byte("\x00\x01\xffbinary\r\n"), QoS: 2, Retain: true, Publisher: "client ü,%", Exchange: "1-2-3-4",
		Created: time.UnixMilli(1_700_000_000_123), Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond),
		Properties: &store.Properties{
			PayloadFormat:   1,
			HasFormat:       true,
			ContentType:     "text/plain; charset=utf-8",
			ResponseTopic:   first + "/reply",
			CorrelationData: []byte("\x00\x02,\x01 ☃"),
			User: []store.UserProperty{
				{Key: "k", Value: "v1"},
				{Key: "k", Value: "v2"},
				{Key: "", Value: ""},
				{Key: "a\x01b", Value: "c\x02,\"d"},
			},
		},
	}
	p := s.put(t, appendTo(m))
	queue := topic.Queue(name)
	r := s.drain(t, first, queue, 1, 32)[0]
	requireMessage(t, m, &r.Message)
	require.NotEmpty(t, r.ID)
	require.Equal(t, p.Broker, r.Position.Broker)
	require.Equal(t, p.Partition, r.Position.Partition)
	require.Equal(t, p.Offset, r.Position.Offset)
	require.InDelta(t, time.Now().UnixMilli(), r.Position.Time, 300_000)
	require.False(t, r.Partial)
	require.Equal(t, []store.Entry{{Queue: queue, Offset: 0}}, r.Entries)

	plain := message(name, "plain")
	s.put(t, appendTo(plain))
	requireMessage(t, plain, &s.drain(t, first, queue, 2, 32)[1].Message)
}

// requireMessage compares messages. Times are compared by their milliseconds.
func requireMessage(t *testing.T, want, got *store.Message) {
	t.Helper()
	require.Equal(t, want.Topic, got.Topic)
	require.True(t, bytes.Equal(want.Payload, got.Payload), "payload: want %q, got %q", want.Payload, got.Payload)
	require.Equal(t, want.QoS, got.QoS)
	require.Equal(t, want.Retain, got.Retain)
	require.Equal(t, want.Publisher, got.Publisher)
	require.Equal(t, want.Exchange, got.Exchange)
	require.Equal(t, want.Created.UnixMilli(), got.Created.UnixMilli())
	require.Equal(t, want.Expires.IsZero(), got.Expires.IsZero())
	if !want.Expires.IsZero() {
		require.Equal(t, want.Expires.UnixMilli(), got.Expires.UnixMilli())
	}
	require.Equal(t, want.Properties, got.Properties)
}

func emptyPayload(t *testing.T, s *suite) {
	first := s.newTopic(t)
	s.put(t, appendTo(message(first+"/e", "")))
	r := s.drain(t, first, topic.Queue(first+"/e"), 1, 32)[0]
	require.Empty(t, r.Payload)
}

func largeDispatchSet(t *testing.T, s *suite) {
	const n = 2000
	first := s.newTopic(t)
	queues := make([]string, n)
	for i := range queues {
		queues[i] = topic.Queue(fmt.Sprintf("%s/+/%04d", first, i))
	}
	c := s.tail(t, first)
	s.put(t, appendTo(message(first+"/a/b", "wide"), queues...))

	id := c.waitOne(t, s).ID
	for _, q := range queues {
		r := s.drain(t, first, q, 1, 1)[0]
		require.Equal(t, id, r.ID)
		require.Equal(t, "wide", string(r.Payload))
	}
}

// waitOne waits for the first record.
func (c *collector) waitOne(t *testing.T, s *suite) *store.Record {
	t.Helper()
	require.Eventually(t, func() bool { return c.len() > 0 }, s.Patience, 5*time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records[0]
}

func noQueues(t *testing.T, s *suite) {
	first := s.newTopic(t)
	a := appendTo(message(first+"/x", "alone"))
	a.Queues = nil
	p := s.put(t, a)
	r := s.drainPartition(t, first, store.Partition{Broker: p.Broker, ID: p.Partition}, 0, 1)[0]
	require.Equal(t, "alone", string(r.Payload))
	require.Empty(t, r.Entries)
}

func orderPerKey(t *testing.T, s *suite) {
	first := s.newTopic(t)
	keys, each := s.scaled(64), s.scaled(30)
	var wg sync.WaitGroup
	var failed atomic.Int64
	for k := range keys {
		wg.Go(func() {
			for i := range each {
				m := message(fmt.Sprintf("%s/k%d", first, k), strconv.Itoa(i))
				if _, err := put(s.ctx, s.Store, appendTo(m)); err != nil {
					failed.Add(1)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	for k := range keys {
		records := s.drain(t, first, topic.Queue(fmt.Sprintf("%s/k%d", first, k)), each, 32)
		require.Equal(t, numbers(each), payloads(records))
		for _, r := range records[1:] {
			require.Equal(t, records[0].Position.Broker, r.Position.Broker, "a key stays in one physical queue")
			require.Equal(t, records[0].Position.Partition, r.Position.Partition, "a key stays in one physical queue")
		}
	}
}

func concurrentAppends(t *testing.T, s *suite) {
	const publishers = 8
	first := s.newTopic(t)
	each := s.scaled(500)
	name, wildcard := first+"/all", topic.Queue(first+"/#")
	var wg sync.WaitGroup
	errs := make(chan error, publishers)
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				m := message(name, fmt.Sprintf("%d %d", p, i))
				m.Publisher = fmt.Sprintf("p%d", p)
				if _, err := put(s.ctx, s.Store, appendTo(m, topic.Queue(name), wildcard)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	for _, q := range []string{topic.Queue(name), wildcard} {
		requireEachOnceInOrder(t, s.drain(t, first, q, publishers*each, 32), publishers, each)
	}
}

// putBatch appends a batch until all of it is stored or an append fails. It returns how many messages were stored before the failure.
func putBatch(ctx context.Context, st store.Store, batch []store.Append) (stored int, err error) {
	stored, _, err = putBatchAt(ctx, st, batch)
	return stored, err
}

// putBatchAt is putBatch. It also returns the positions that the store reported, by the message's index.
func putBatchAt(ctx context.Context, st store.Store, batch []store.Append) (stored int, at map[int]store.Position, err error) {
	type result struct {
		n   int
		at  store.Position
		err error
	}
	at = make(map[int]store.Position)
	for stored < len(batch) {
		done := make(chan result, 2)
		st.AppendBatch(ctx, batch[stored:], func(n int, at store.Position, err error) { done <- result{n, at, err} })
		select {
		case r := <-done:
			if r.n < 1 || r.n > len(batch)-stored {
				return stored, at, fmt.Errorf("%d of %d were taken", r.n, len(batch)-stored)
			}
			if r.err != nil {
				return stored, at, r.err
			}
			stored += r.n
			at[stored-1] = r.at
		case <-time.After(time.Minute):
			return stored, at, errors.New("no callback within a minute")
		}
	}
	return stored, at, nil
}

// batches uses records with no queue, one queue and two queues, because stores may treat these differently.
func batches(t *testing.T, s *suite) {
	first := s.newTopic(t)
	tail := s.tail(t, first)
	keys, each := 8, s.scaled(100)
	wildcard := topic.Queue(first + "/#")
	var wg sync.WaitGroup
	errs := make(chan error, keys)
	for k := range keys {
		wg.Go(func() {
			batch := make([]store.Append, each)
			for i := range batch {
				batch[i] = appendTo(message(fmt.Sprintf("%s/k%d", first, k), fmt.Sprintf("%d %d", k, i)))
				switch k % 3 {
				case 1:
					batch[i].Queues = nil
				case 2:
					batch[i].Queues = append(batch[i].Queues, wildcard)
				}
			}
			_, err := putBatch(s.ctx, s.Store, batch)
			errs <- err
		})
	}
	wg.Wait()
	for range keys {
		require.NoError(t, <-errs)
	}
	records := tail.wait(t, s, keys*each)
	requireEachOnceInOrder(t, records, keys, each)
	ids := map[string]bool{}
	partitions := map[string]store.Partition{}
	for _, r := range records {
		require.False(t, ids[r.ID], "an id given twice")
		ids[r.ID] = true
		at := store.Partition{Broker: r.Position.Broker, ID: r.Position.Partition}
		if before, ok := partitions[r.Topic]; ok {
			require.Equal(t, before, at, "a key stays in one physical queue")
		}
		partitions[r.Topic] = at
	}
	for k := range keys {
		if k%3 != 1 {
			requireEachOnceInOrder(t, s.drain(t, first, topic.Queue(fmt.Sprintf("%s/k%d", first, k)), each, 32), 1, each)
		}
	}
	requireEachOnceInOrder(t, s.drain(t, first, wildcard, 2*each, 32), 2, each)
}

// batchPositions uses retained messages, because only their positions must be exact.
func batchPositions(t *testing.T, s *suite) {
	first := s.newTopic(t)
	for _, queues := range [][]string{{topic.Queue(first + "/x")}, {}} {
		tail := s.tail(t, first)
		batch := make([]store.Append, 50)
		for i := range batch {
			m := message(first+"/x", strconv.Itoa(i))
			m.Retain = true
			batch[i] = appendTo(m, queues...)
		}
		_, at, err := putBatchAt(s.ctx, s.Store, batch)
		require.NoError(t, err)
		require.NotEmpty(t, at)
		for i, r := range tail.wait(t, s, len(batch)) {
			require.Equal(t, strconv.Itoa(i), string(r.Payload))
			if p, told := at[i]; told {
				require.True(t, p.Same(r.Position), "message %d is at %+v, told was %+v", i, r.Position, p)
				require.False(t, p.Before(r.Position) || r.Position.Before(p), "message %d is at %+v, told was %+v", i, r.Position, p)
			}
		}
		require.Contains(t, at, len(batch)-1)
	}
}

func batchWithRefused(t *testing.T, s *suite) {
	if s.MaxPayload == 0 {
		t.Skip("the factory names no limit")
	}
	first := s.newTopic(t)
	for _, queues := range [][]string{{topic.Queue(first + "/x")}, {}} {
		tail := s.tail(t, first)
		var batch []store.Append
		for _, payload := range []string{"1", "2", strings.Repeat("x", s.TooLarge), "4"} {
			batch = append(batch, appendTo(message(first+"/x", payload), queues...))
		}
		stored, err := putBatch(s.ctx, s.Store, batch)
		require.ErrorIs(t, err, store.ErrTooLarge)
		require.Equal(t, 2, stored)
		_, err = putBatch(s.ctx, s.Store, batch[3:])
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2", "4"}, payloads(tail.wait(t, s, 3)))
	}
}

func batchUnknownTopic(t *testing.T, s *suite) {
	name := "st" + client() + "/x"
	_, err := putBatch(s.ctx, s.Store, []store.Append{appendTo(message(name, "lost")), appendTo(message(name, "lost, too"))})
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

func positions(t *testing.T, s *suite) {
	first := s.newTopic(t)
	type place struct {
		broker    string
		partition int32
		offset    int64
	}
	seen := map[place]bool{}
	last := map[store.Partition]store.Position{}
	for i := range s.scaled(50) {
		p := s.put(t, appendTo(message(first+"/p", strconv.Itoa(i))))
		at := place{p.Broker, p.Partition, p.Offset}
		require.False(t, seen[at], "position %+v given twice", p)
		seen[at] = true
		key := store.Partition{Broker: p.Broker, ID: p.Partition}
		if before, ok := last[key]; ok {
			require.Greater(t, p.Offset, before.Offset)
			if p.Log >= 0 && before.Log >= 0 {
				require.Greater(t, p.Log, before.Log)
			}
		}
		last[key] = p
	}
}

func callbackOnce(t *testing.T, s *suite) {
	first := s.newTopic(t)
	n := s.scaled(200)
	calls := make([]atomic.Int32, n)
	var wg sync.WaitGroup
	wg.Add(n)
	for i := range n {
		a := appendTo(message(fmt.Sprintf("%s/%d", first, i), "x"))
		s.Append(s.ctx, a, func(_ store.Position, err error) {
			if calls[i].Add(1) == 1 {
				wg.Done()
			}
			if err != nil {
				t.Errorf("append %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	s.drain(t, first, topic.Queue(first+"/0"), 1, 1) // one more round trip, during which a second call could come
	for i := range calls {
		require.Equal(t, int32(1), calls[i].Load())
	}
}

func appendCancelled(t *testing.T, s *suite) {
	first := s.newTopic(t)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := put(ctx, s.Store, appendTo(message(first+"/x", "late")))
	require.ErrorIs(t, err, context.Canceled)
}

func largePayload(t *testing.T, s *suite) {
	if s.MaxPayload == 0 {
		t.Skip("the factory names no limit")
	}
	first := s.newTopic(t)
	big := strings.Repeat("0123456789abcdef", s.MaxPayload/16)
	s.put(t, appendTo(message(first+"/big", big)))
	require.Equal(t, big, string(s.drain(t, first, topic.Queue(first+"/big"), 1, 32)[0].Payload))

	_, err := put(s.ctx, s.Store, appendTo(message(first+"/big", strings.Repeat("x", s.TooLarge))))
	require.ErrorIs(t, err, store.ErrTooLarge)
	s.put(t, appendTo(message(first+"/big", "still works")))
}

func appendUnknownTopic(t *testing.T, s *suite) {
	_, err := put(s.ctx, s.Store, appendTo(message("st"+client()+"/x", "lost")))
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

func sharedQueueName(t *testing.T, s *suite) {
	first := s.newTopic(t)
	require.Equal(t, topic.Queue(first+"/a"), topic.Queue(first+"/a/"))
	s.put(t, appendTo(message(first+"/a", "one")))
	s.put(t, appendTo(message(first+"/a/", "two")))
	records := s.drain(t, first, topic.Queue(first+"/a"), 2, 32)
	got := map[string]string{}
	for _, r := range records {
		got[string(r.Payload)] = r.Topic
	}
	require.Equal(t, map[string]string{"one": first + "/a", "two": first + "/a/"}, got)
}

func specialTopics(t *testing.T, s *suite) {
	first := s.newTopic(t)
	names := []string{
		first, first + "/", first + "//", first + "/a%b", first + "/a,b", first + "/a/b", first + "/a\x01b", first + "/a\x02b",
		first + "/~", first + "/a b", first + "/$x", first + "/ü",
		first + "/" + strings.Repeat("long/", 100), first + "/" + strings.Repeat("long/", 101), first + "/" + strings.Repeat("x", 4000),
	}
	for _, name := range names {
		s.put(t, appendTo(message(name, name)))
	}
	for _, name := range names {
		records := s.drain(t, first, topic.Queue(name), 1, 32)
		require.Equal(t, name, records[0].Topic)
		require.Equal(t, name, string(records[0].Payload))
	}
}
