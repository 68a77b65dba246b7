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
	// Bounds of what a tail holds in memory for a handler that is slower than appends. Beyond them the tail reads from disk.
	tailRecords = 1024
	tailBytes   = 1 << 20
	// tailRead is how many records a tail reads from disk at once.
	tailRead = 256
	// tailRetry is the pause after a failed read.
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

// offer passes a newly visible record to the tails that follow its topic or queues. Called with ts.mu held.
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

// tail follows one queue. Its goroutine calls f. It takes records from pending while it keeps up; if pending does not continue where it
// left off, it reads from disk.
type tail struct {
	s    *Store
	name string
	in   map[string][]*tail // the map in which it is registered
	read func(ctx context.Context, offset int64, n int) (store.Batch, error)
	f    store.TailFunc

	wake   chan struct{} // one token: pending or end has changed
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once

	// Guarded by Store.tails.mu.
	pending []*store.Record // the newest records, without gaps, up to end
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

// startTail registers a tail at the visible end of its queue. No publish can move the end meanwhile.
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

// Ends implements store.Tail. Records become visible before they are acknowledged, so the visible end covers everything acknowledged.
func (t *tail) Ends(f func(p store.Partition, begin, end int64)) {
	t.s.tails.mu.Lock()
	begin, end := min(t.begin, t.end), t.end
	t.s.tails.mu.Unlock()
	f(store.Partition{Broker: Broker}, begin, end)
}

// Latest implements store.Tail. Only this process appends, so Ends is exact.
func (t *tail) Latest(_ context.Context, f func(p store.Partition, begin, end int64)) { t.Ends(f) }

// offer adds a record, or makes the tail read it from disk later. Called with tails.mu held.
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

// take returns the pending records if they continue at next. Otherwise it returns nil and the offset up to which to read from disk.
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

// catchUp reads from disk, delivers the records before upTo, and returns where to continue.
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
