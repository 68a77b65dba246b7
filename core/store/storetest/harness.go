package storetest

import (
	"context"
	"crypto/rand"
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

// newTopic creates a first-level topic that no other case uses.
func (s *suite) newTopic(t *testing.T) string {
	t.Helper()
	name := "st" + rand.Text()[:12]
	require.NoError(t, s.CreateTopic(s.ctx, name, 4))
	return name
}

// client returns a client id that no other case uses.
func client() string { return "c" + rand.Text()[:12] }

// scaled returns n scaled by the factory's load, at least 8.
func (s *suite) scaled(n int) int { return max(8, int(float64(n)*s.Load)) }

func message(name, payload string) *store.Message {
	return &store.Message{Topic: name, Payload: []byte(payload), QoS: 1, Publisher: "publisher", Created: time.Now()}
}

// appendTo returns an append of m, by default to the queue of its own topic only.
func appendTo(m *store.Message, queues ...string) store.Append {
	if queues == nil {
		queues = []string{topic.Queue(m.Topic)}
	}
	return store.Append{Message: m, Topic: topic.First(m.Topic), Key: m.Publisher + " " + m.Topic, Queues: queues}
}

// put appends a message and waits.
func (s *suite) put(t *testing.T, a store.Append) store.Position {
	t.Helper()
	p, err := put(s.ctx, s.Store, a)
	require.NoError(t, err)
	return p
}

func put(ctx context.Context, st store.Store, a store.Append) (store.Position, error) {
	type result struct {
		p   store.Position
		err error
	}
	done := make(chan result, 1)
	st.Append(ctx, a, func(p store.Position, err error) { done <- result{p, err} })
	select {
	case r := <-done:
		return r.p, r.err
	case <-time.After(time.Minute):
		return store.Position{}, fmt.Errorf("no callback within a minute")
	}
}

// numbered stores n messages with one key, one after another, with payloads 0 to n-1.
func (s *suite) numbered(t *testing.T, name string, n int, queues ...string) {
	t.Helper()
	for i := range n {
		s.put(t, appendTo(message(name, strconv.Itoa(i)), queues...))
	}
}

// brokers returns the brokers of a topic.
func (s *suite) brokers(t *testing.T, first string) []string {
	t.Helper()
	brokers, err := s.Brokers(s.ctx, first)
	require.NoError(t, err)
	require.NotEmpty(t, brokers)
	return brokers
}

// drain reads a queue on all brokers from its beginning until it has n records. It checks each batch.
func (s *suite) drain(t *testing.T, first, queue string, n, perRead int) []*store.Record {
	t.Helper()
	var all []*store.Record
	next := map[string]int64{}
	brokers := s.brokers(t, first)
	require.Eventually(t, func() bool {
		for _, b := range brokers {
			for {
				ref := store.QueueRef{Queue: queue, Broker: b}
				batch, err := s.Read(s.ctx, ref, next[b], perRead)
				require.NoError(t, err)
				s.checkBatch(t, ref, batch, next[b], perRead)
				all = append(all, batch.Records...)
				next[b] = batch.Next
				if batch.Next >= batch.Max {
					break
				}
			}
		}
		return len(all) >= n
	}, s.Patience, 20*time.Millisecond, "queue %q: %d records expected", queue, n)
	require.Len(t, all, n, "queue %q", queue)
	return all
}

// checkBatch checks what must hold for every read of a queue.
func (s *suite) checkBatch(t *testing.T, ref store.QueueRef, b store.Batch, offset int64, n int) {
	t.Helper()
	require.LessOrEqual(t, len(b.Records), n)
	require.Len(t, b.Offsets, len(b.Records))
	require.LessOrEqual(t, b.Min, b.Max)
	require.GreaterOrEqual(t, b.Next, offset)
	last := offset - 1
	for i, r := range b.Records {
		require.Greater(t, b.Offsets[i], last, "offsets ascend")
		last = b.Offsets[i]
		if ref.Queue != "" {
			at, ok := r.Offset(ref.Queue)
			require.True(t, ok, "record has an entry for the queue it was read from")
			require.Equal(t, b.Offsets[i], at)
		}
		require.Equal(t, ref.Broker, r.Position.Broker)
	}
	require.Greater(t, b.Next, last, "Next is past the last record")
}

func payloads(records []*store.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = string(r.Payload)
	}
	return out
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
}

// requireEachOnceInOrder checks records with payloads "publisher number": for every publisher, each number below n must appear once, in
// order.
func requireEachOnceInOrder(t *testing.T, records []*store.Record, publishers, n int) {
	t.Helper()
	next := map[string]int{}
	for _, r := range records {
		who, number, _ := strings.Cut(string(r.Payload), " ")
		require.Equal(t, strconv.Itoa(next[who]), number, "next of publisher %s", who)
		next[who]++
	}
	require.Len(t, next, publishers)
	for who, got := range next {
		require.Equal(t, n, got, "publisher %s", who)
	}
}

// collector is a TailFunc that collects records and checks their order.
type collector struct {
	mu      sync.Mutex
	records []*store.Record
	last    map[store.Partition]int64
	broken  []string
	offset  func(*store.Record) int64
	running map[store.Partition]bool
	block   <-chan struct{} // if set, calls wait until it is closed
}

func newCollector() *collector {
	return &collector{
		last:    map[store.Partition]int64{},
		running: map[store.Partition]bool{},
		offset:  func(r *store.Record) int64 { return r.Position.Offset },
	}
}

func (c *collector) f(p store.Partition, records []*store.Record) {
	c.mu.Lock()
	if c.running[p] {
		c.broken = append(c.broken, fmt.Sprintf("calls for partition %v overlap", p))
	}
	c.running[p] = true
	block := c.block
	c.mu.Unlock()
	if block != nil {
		<-block
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[p] = false
	if len(records) == 0 {
		c.broken = append(c.broken, "called without records")
	}
	for _, r := range records {
		at := c.offset(r)
		if last, ok := c.last[p]; ok && at <= last {
			c.broken = append(c.broken, fmt.Sprintf("partition %v: offset %d after %d", p, at, last))
		}
		c.last[p] = at
		c.records = append(c.records, r)
	}
}

func (c *collector) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.records)
}

// wait waits until n records have come, and returns them.
func (c *collector) wait(t *testing.T, s *suite, n int) []*store.Record {
	t.Helper()
	require.Eventually(t, func() bool { return c.len() >= n }, s.Patience, 5*time.Millisecond, "tail: %d records expected", n)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.broken)
	require.Len(t, c.records, n)
	return append([]*store.Record(nil), c.records...)
}
