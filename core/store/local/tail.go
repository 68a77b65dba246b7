package local

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// What a tail holds in memory for a handler that is slower than appends; beyond it the tail reads from disk.
	tailRecords = 1024
	tailBytes   = 1 << 20
	// tailRead is how many records a tail reads from disk at once.
	tailRead = 256
	// tailRetry is the pause after a read that failed.
	tailRetry = time.Second
)

// tails are the live reads of the store.
type tails struct {
	mu     sync.Mutex
	topics map[string][]*tail
	queues map[string][]*tail
	closed bool
}

func (ts *tails) init() {
	ts.topics = map[string][]*tail{}
	ts.queues = map[string][]*tail{}
}

// offer hands a record that became visible to the tails it concerns. The caller holds ts.mu.
func (ts *tails) offer(topic string, r *store.Record) {
	for _, t := range ts.topics[topic] {
		t.offer(r, r.Position.Offset)
	}
	if len(ts.queues) == 0 {
		return
	}
	for i := range r.Entries {
		for _, t := range ts.queues[r.Entries[i].Queue] {
			t.offer(r, r.Entries[i].Offset)
		}
	}
}

func (ts *tails) close() {
	ts.mu.Lock()
	ts.closed = true
	var all []*tail
	for _, list := range ts.topics {
		all = append(all, list...)
	}
	for _, list := range ts.queues {
		all = append(all, list...)
	}
	ts.mu.Unlock()
	for _, t := range all {
		t.Close()
	}
}

// tail follows one queue. Its goroutine calls f; it takes records from pending while it keeps up, and reads them from disk
// where pending does not go on from what was delivered last.
type tail struct {
	s    *Store
	name string
	in   map[string][]*tail // where it is registered
	read func(ctx context.Context, offset int64, n int) (store.Batch, error)
	f    store.TailFunc

	wake   chan struct{} // one token: pending or end changed
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once

	// Guarded by Store.tails.mu.
	pending []*store.Record // the newest records without a gap, ending at end
	first   int64           // offset of pending[0]
	begin   int64           // where the tail began
	end     int64           // the visible end of the queue
	bytes   int
}

var _ store.Tail = (*tail)(nil)

// Tail follows a first-level topic. The context bounds the call, not the tail. See store.Store.
func (s *Store) Tail(ctx context.Context, topic string, f store.TailFunc) (store.Tail, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	t := &tail{name: topic, in: s.tails.topics, f: f}
	t.read = func(ctx context.Context, offset int64, n int) (store.Batch, error) {
		return s.ReadPartition(ctx, topic, store.Partition{Broker: Broker}, offset, n)
	}
	return s.startTail(t, func() (int64, error) {
		state := s.lookupTopic(topic)
		if state == nil {
			return 0, unknownTopic(topic)
		}
		return state.end, nil
	})
}

// TailQueue follows one queue. The context bounds the call, not the tail. See store.Store.
func (s *Store) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	t := &tail{name: queue, in: s.tails.queues, f: f}
	t.read = func(ctx context.Context, offset int64, n int) (store.Batch, error) {
		return s.Read(ctx, store.QueueRef{Queue: queue, Broker: Broker}, offset, n)
	}
	return s.startTail(t, func() (int64, error) {
		b, err := s.bounds(queue)
		return b.Max, err
	})
}

// startTail registers a tail at the visible end of its queue, which no publish can move meanwhile.
func (s *Store) startTail(t *tail, end func() (int64, error)) (store.Tail, error) {
	t.s = s
	t.wake = make(chan struct{}, 1)
	t.done = make(chan struct{})
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	if s.tails.closed {
		return nil, store.ErrClosed
	}
	start, err := end()
	if err != nil {
		return nil, err
	}
	t.begin, t.end = start, start
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	t.in[t.name] = append(t.in[t.name], t)
	go t.run(ctx, start)
	return t, nil
}

// Close stops the tail and waits for its goroutine.
func (t *tail) Close() {
	t.once.Do(func() {
		ts := &t.s.tails
		ts.mu.Lock()
		rest := slices.DeleteFunc(t.in[t.name], func(other *tail) bool { return other == t })
		if len(rest) == 0 {
			delete(t.in, t.name)
		} else {
			t.in[t.name] = rest
		}
		ts.mu.Unlock()
		t.cancel()
	})
	<-t.done
}

// Ends implements store.Tail. What is visible was not acknowledged before.
func (t *tail) Ends(f func(p store.Partition, begin, end int64)) {
	t.s.tails.mu.Lock()
	begin, end := min(t.begin, t.end), t.end
	t.s.tails.mu.Unlock()
	f(store.Partition{Broker: Broker}, begin, end)
}

// Latest implements store.Tail. Nobody but this process appends.
func (t *tail) Latest(_ context.Context, f func(p store.Partition, begin, end int64)) { t.Ends(f) }

// offer adds a record, or makes the tail read it from disk later. The caller holds tails.mu.
func (t *tail) offer(r *store.Record, offset int64) {
	if len(t.pending) > 0 && (len(t.pending) == tailRecords || t.bytes+r.Size() > tailBytes) {
		t.pending, t.bytes = nil, 0
	}
	if len(t.pending) == 0 {
		t.first = offset
	}
	t.pending = append(t.pending, r)
	t.bytes += r.Size()
	t.end = offset + 1
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take returns the pending records if they go on at next; else nil, and up to where to read from disk.
func (t *tail) take(next int64) (records []*store.Record, upTo int64) {
	t.s.tails.mu.Lock()
	defer t.s.tails.mu.Unlock()
	if len(t.pending) == 0 {
		return nil, t.end
	}
	if t.first > next {
		return nil, t.first
	}
	records = t.pending
	t.pending, t.bytes = nil, 0
	return records, t.end
}

func (t *tail) run(ctx context.Context, next int64) {
	defer close(t.done)
	p := store.Partition{Broker: Broker}
	for ctx.Err() == nil {
		records, upTo := t.take(next)
		switch {
		case records != nil:
			t.f(p, records)
			next = upTo
		case next < upTo:
			next = t.catchUp(ctx, p, next, upTo)
		default:
			select {
			case <-t.wake:
			case <-ctx.Done():
			}
		}
	}
}

// catchUp reads from disk, delivers what lies before upTo, and returns where to go on.
func (t *tail) catchUp(ctx context.Context, p store.Partition, next, upTo int64) int64 {
	t.s.metrics.tailDisk.Inc()
	b, err := t.read(ctx, next, int(min(tailRead, upTo-next)))
	switch {
	case errors.Is(err, store.ErrUnknownTopic):
		return upTo // deleted meanwhile, with its records
	case err != nil:
		if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			t.s.opts.Log.Warn("local store: a tail cannot read and tries again", "name", t.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(tailRetry):
		}
		return next
	}
	if b.Min > next {
		lost := min(b.Min, upTo) - next
		t.s.metrics.tailLost.Add(float64(lost))
		t.s.opts.Log.Warn("local store: retention removed records that a slow tail had not read", "name", t.name, "records", lost)
	}
	n := len(b.Records)
	for n > 0 && b.Offsets[n-1] >= upTo {
		n--
	}
	if n > 0 && ctx.Err() == nil {
		t.f(p, b.Records[:n])
	}
	return min(max(b.Next, next), upTo)
}
