package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Bounds of one Batch. By default, etcd accepts 128 operations per transaction, and gRPC accepts messages of 4 MiB.
const (
	maxBatchOperations = 100
	maxBatchBytes      = 1 << 20
	maxQueuedWrites    = 16384
	// batchTime is how long a batch should take at most. On a slow backend that writes each operation separately, batches shrink so that
	// they end within the call time-out, but not below minBatchOperations, in case each call is slow whatever its size.
	batchTime          = 500 * time.Millisecond
	minBatchOperations = 8
	// patience is how many write time-outs a write may wait for its turn while other writes succeed.
	patience = 4
	// maxLanes is how many batches may be under way at the same time.
	maxLanes = 8
)

// write is the unconditional operations of one caller. They succeed or fail together as far as the backend supports that.
type write struct {
	ctx   context.Context
	ops   []*pluginv1.Operation
	bytes int
	begin time.Time
	done  chan written // buffered
}

// written is the outcome of a write.
type written struct {
	revision, generation int64
	err                  error
}

// writer groups the unconditional writes of all callers: while one Batch is under way, the next one collects operations, so callers share
// the cost of a slow backend. Meta owns its goroutine, and stops it by closing stop.
type writer struct {
	m     *Meta
	queue chan *write
	// limit is how many operations a batch may have now. progress is when a batch last succeeded, in nanoseconds since the epoch.
	limit    atomic.Int64
	progress atomic.Int64
}

func newWriter(m *Meta) *writer {
	w := &writer{m: m, queue: make(chan *write, maxQueuedWrites)}
	w.limit.Store(maxBatchOperations)
	return w
}

func put(ns, key string, value []byte, ttl time.Duration) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: &pluginv1.PutRequest{
		Namespace: ns, Key: key, Value: value, TtlMs: ttl.Milliseconds()}}}
}

func remove(ns, key string) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{Namespace: ns, Key: key}}}
}

type itemID struct{ ns, key string }

func target(op *pluginv1.Operation) itemID {
	if p := op.GetPut(); p != nil {
		return itemID{p.GetNamespace(), p.GetKey()}
	}
	return itemID{op.GetDelete().GetNamespace(), op.GetDelete().GetKey()}
}

// write makes operations durable and visible in the mirrors, and returns their revision. Operations that exceed one batch are split into
// parts that are written one after another; each part then has the write time-out for itself.
func (w *writer) write(ctx context.Context, ops ...*pluginv1.Operation) (revision int64, err error) {
	revision, _, err = w.writeAt(ctx, ops...)
	return revision, err
}

// writeAt is write, and also returns the generation of the revision.
func (w *writer) writeAt(ctx context.Context, ops ...*pluginv1.Operation) (revision, generation int64, err error) {
	for len(ops) > 0 {
		n := w.fit(ops)
		r := w.part(ctx, ops[:n])
		if r.err != nil {
			return 0, 0, r.err
		}
		if r.generation > generation {
			revision, generation = 0, r.generation
		}
		revision, ops = max(revision, r.revision), ops[n:]
	}
	return revision, generation, nil
}

// each makes operations on different keys durable and visible, like write, but writes several parts concurrently and independently. It
// returns the outcome of each operation.
func (w *writer) each(ctx context.Context, ops []*pluginv1.Operation) []written {
	results := make([]written, len(ops))
	var wg sync.WaitGroup
	lanes := make(chan struct{}, maxLanes)
	for at := 0; at < len(ops); {
		lanes <- struct{}{}
		from, to := at, at+w.fit(ops[at:])
		at = to
		wg.Go(func() {
			r := w.part(ctx, ops[from:to])
			for i := from; i < to; i++ {
				results[i] = r
			}
			<-lanes
		})
	}
	wg.Wait()
	return results
}

// fit returns how many operations, from the first on, make one part.
func (w *writer) fit(ops []*pluginv1.Operation) int {
	n, size := 0, 0
	for n < len(ops) && n < int(w.limit.Load()) && (n == 0 || size+weight(ops[n]) <= maxBatchBytes) {
		size += weight(ops[n])
		n++
	}
	return n
}

// weight estimates the bytes of an operation.
func weight(op *pluginv1.Operation) int {
	return len(target(op).key) + len(op.GetPut().GetValue()) + 64
}

func (w *writer) part(ctx context.Context, ops []*pluginv1.Operation) written {
	wr := &write{ctx: ctx, ops: ops, begin: time.Now(), done: make(chan written, 1)}
	for _, op := range wr.ops {
		if id := target(op); !utf8.ValidString(id.key) {
			return written{err: fmt.Errorf("write %s %q: the key is not UTF-8 text", id.ns, id.key)}
		}
		wr.bytes += weight(op)
	}
	select {
	case <-w.m.stop:
		return written{err: ErrClosed}
	default:
	}
	select {
	case w.queue <- wr:
	default:
		return written{err: fmt.Errorf("%w: %d writes are waiting already", ErrUnavailable, maxQueuedWrites)}
	}
	t := time.NewTimer(w.m.opts.WriteTimeout + w.m.opts.CallTimeout/2)
	defer t.Stop()
	for {
		select {
		case r := <-wr.done:
			if r.err == nil {
				w.m.metrics.writes.Observe(time.Since(wr.begin).Seconds())
			}
			return r
		case <-ctx.Done():
			return written{err: ctx.Err()}
		case <-w.m.done:
			return written{err: ErrClosed}
		case <-t.C:
			if err := w.late(wr); err != nil {
				return written{err: err}
			}
			t.Reset(w.m.opts.WriteTimeout)
		}
	}
}

// late returns an error if a write has waited too long: one write time-out, or several while other writes succeed.
func (w *writer) late(wr *write) error {
	waited, timeout := time.Since(wr.begin), w.m.opts.WriteTimeout
	moving := time.Since(time.Unix(0, w.progress.Load())) < timeout
	if waited <= timeout || moving && waited <= patience*timeout {
		return nil
	}
	return fmt.Errorf("%w: the write did not finish within %s", ErrUnavailable, waited.Round(time.Millisecond))
}

// run sends queued writes until stop, and then those still in the queue.
func (w *writer) run(ctx context.Context) {
	var next *write
	for {
		if next == nil {
			select {
			case next = <-w.queue:
			case <-w.m.stop:
				select {
				case next = <-w.queue:
				default:
					return
				}
			}
		}
		var groups [][]*write
		groups, next = w.round(next)
		var wg sync.WaitGroup
		for _, group := range groups[1:] {
			wg.Go(func() { w.flush(ctx, group) })
		}
		w.flush(ctx, groups[0])
		wg.Wait()
	}
}

// round groups the queued writes, starting with first. Each group makes one batch. Groups may be written concurrently, because no key is in
// two of them. carry is a write that was taken from the queue and belongs to the next round.
func (w *writer) round(first *write) (groups [][]*write, carry *write) {
	lanes := 1
	if w.m.traits().GetAtomicBatch() { // other backends write key by key, and gain nothing
		lanes = maxLanes
	}
	group, n, size := []*write{first}, len(first.ops), first.bytes
	var earlier map[itemID]struct{} // keys of the full groups
	for {
		var next *write
		select {
		case next = <-w.queue:
		default:
			return append(groups, group), nil
		}
		for _, op := range next.ops {
			if _, twice := earlier[target(op)]; twice {
				return append(groups, group), next
			}
		}
		if n+len(next.ops) <= int(w.limit.Load()) && size+next.bytes <= maxBatchBytes {
			group, n, size = append(group, next), n+len(next.ops), size+next.bytes
			continue
		}
		if len(groups)+1 == lanes {
			return append(groups, group), next
		}
		if earlier == nil {
			earlier = map[itemID]struct{}{}
		}
		for _, wr := range group {
			for _, op := range wr.ops {
				earlier[target(op)] = struct{}{}
			}
		}
		for _, op := range next.ops {
			if _, twice := earlier[target(op)]; twice {
				return append(groups, group), next
			}
		}
		groups, group, n, size = append(groups, group), []*write{next}, len(next.ops), next.bytes
	}
}

// flush writes a group. If the backend refuses the group as a whole, each write is tried alone, so that one that does not fit does not fail
// the others.
func (w *writer) flush(ctx context.Context, group []*write) {
	live := group[:0]
	for _, wr := range group {
		if err := wr.ctx.Err(); err != nil {
			wr.done <- written{err: err}
		} else if err := w.late(wr); err != nil {
			wr.done <- written{err: err}
		} else {
			live = append(live, wr)
		}
	}
	if len(live) == 0 {
		return
	}
	result := w.send(ctx, live)
	if result.err != nil && len(live) > 1 && !errors.Is(result.err, ErrUnavailable) {
		for _, wr := range live {
			wr.done <- w.send(ctx, []*write{wr})
		}
		return
	}
	for _, wr := range live {
		wr.done <- result
	}
}

// send writes the group's operations in one call. A later operation on a key replaces an earlier one: some backends refuse a batch that
// names a key twice.
func (w *writer) send(ctx context.Context, group []*write) written {
	var ops []*pluginv1.Operation
	at := map[itemID]int{}
	for _, wr := range group {
		for _, op := range wr.ops {
			id := target(op)
			if i, twice := at[id]; twice {
				ops[i] = op
				continue
			}
			at[id] = len(ops)
			ops = append(ops, op)
		}
	}
	w.m.metrics.batch.Observe(float64(len(ops)))
	begin := time.Now()
	what := fmt.Sprintf("write %d items to %s", len(ops), target(ops[0]).ns)
	if len(ops) == 1 {
		what = fmt.Sprintf("write %s %q", target(ops[0]).ns, target(ops[0]).key)
	}
	var result written
	tries := 0
	noted := w.m.present.begin(ops...)
	err := w.m.backend.write(ctx, "batch", what, 0, func(ctx context.Context, _ int) error {
		tries++
		all := ops
		if bump := w.m.bump(ops); bump != nil {
			all = append(slices.Clone(ops), bump)
		}
		resp, err := w.m.backend.client().Batch(ctx, &pluginv1.BatchRequest{Operations: all})
		if err == nil {
			result = written{revision: resp.GetRevision(), generation: w.m.backend.generation()}
		}
		return err
	})
	noted(err == nil && tries == 1)
	if err != nil {
		return written{err: err}
	}
	w.progress.Store(time.Now().UnixNano())
	w.adapt(len(ops), time.Since(begin))
	for _, op := range ops {
		w.m.applied(op, result.revision, result.generation)
	}
	return result
}

// adapt adjusts the size of the next batches to the duration of this one.
func (w *writer) adapt(operations int, took time.Duration) {
	limit := w.limit.Load()
	switch {
	case took > batchTime && operations > minBatchOperations:
		limit = max(minBatchOperations, min(limit, int64(operations))/2)
	case took < batchTime/2 && int64(operations) >= limit/2:
		limit = min(maxBatchOperations, limit*2)
	}
	w.limit.Store(limit)
}
