package meta

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Bounds of one Batch. etcd takes 128 operations a transaction by default, and gRPC 4 MiB a message.
const (
	maxBatchOperations = 100
	maxBatchBytes      = 1 << 20
	maxQueuedWrites    = 16384
)

// write is one caller's unconditional operations, which succeed or fail together as far as the backend can.
type write struct {
	ctx      context.Context
	ops      []*pluginv1.Operation
	bytes    int
	deadline time.Time
	done     chan written // buffered
}

// written is what became of a write.
type written struct {
	revision int64
	err      error
}

// writer groups the unconditional writes of all callers: while one Batch is on its way the next collects, so the cost of a slow
// backend is shared. Its goroutine belongs to Meta, which stops it by closing stop.
type writer struct {
	m     *Meta
	queue chan *write
}

func newWriter(m *Meta) *writer { return &writer{m: m, queue: make(chan *write, maxQueuedWrites)} }

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

// write makes operations durable and visible in the mirrors, and returns their revision. More than a batch's worth is split.
func (w *writer) write(ctx context.Context, ops ...*pluginv1.Operation) (int64, error) {
	begin := time.Now()
	var waits []*write
	for len(ops) > 0 {
		n := min(len(ops), maxBatchOperations)
		wr := &write{ctx: ctx, ops: ops[:n], deadline: begin.Add(w.m.opts.WriteTimeout), done: make(chan written, 1)}
		ops = ops[n:]
		for _, op := range wr.ops {
			if id := target(op); !utf8.ValidString(id.key) {
				return 0, fmt.Errorf("write %s %q: the key is not UTF-8 text", id.ns, id.key)
			}
			wr.bytes += len(op.GetPut().GetValue()) + 64
		}
		select {
		case w.queue <- wr:
		case <-w.m.stop:
			return 0, ErrClosed
		default:
			return 0, fmt.Errorf("%w: %d writes are waiting already", ErrUnavailable, maxQueuedWrites)
		}
		waits = append(waits, wr)
	}
	t := time.NewTimer(w.m.opts.WriteTimeout + w.m.opts.CallTimeout/2)
	defer t.Stop()
	var errs error
	var revision int64
	for _, wr := range waits {
		select {
		case r := <-wr.done:
			errs = errors.Join(errs, r.err)
			revision = max(revision, r.revision)
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.C:
			return 0, fmt.Errorf("%w: the write did not finish within %s", ErrUnavailable, w.m.opts.WriteTimeout)
		case <-w.m.done:
			return 0, ErrClosed
		}
	}
	w.m.metrics.writes.Observe(time.Since(begin).Seconds())
	return revision, errs
}

// run sends what is queued until stop, and then what is still queued.
func (w *writer) run(ctx context.Context) {
	var carry *write
	for {
		first := carry
		carry = nil
		if first == nil {
			select {
			case first = <-w.queue:
			case <-w.m.stop:
				select {
				case first = <-w.queue:
				default:
					return
				}
			}
		}
		group, n, size := []*write{first}, len(first.ops), first.bytes
	fill:
		for {
			select {
			case next := <-w.queue:
				if n+len(next.ops) > maxBatchOperations || size+next.bytes > maxBatchBytes {
					carry = next
					break fill
				}
				group, n, size = append(group, next), n+len(next.ops), size+next.bytes
			default:
				break fill
			}
		}
		w.flush(ctx, group)
	}
}

// flush writes a group. Where the backend refuses the group as a whole, each caller is tried alone, so that one that does
// not fit does not fail the others.
func (w *writer) flush(ctx context.Context, group []*write) {
	live := group[:0]
	for _, wr := range group {
		if err := wr.ctx.Err(); err != nil {
			wr.done <- written{err: err}
		} else if time.Now().After(wr.deadline) {
			wr.done <- written{err: fmt.Errorf("%w: the write waited longer than %s", ErrUnavailable, w.m.opts.WriteTimeout)}
		} else {
			live = append(live, wr)
		}
	}
	if len(live) == 0 {
		return
	}
	revision, err := w.send(ctx, live)
	if err != nil && len(live) > 1 && !errors.Is(err, ErrUnavailable) {
		for _, wr := range live {
			revision, err := w.send(ctx, []*write{wr})
			wr.done <- written{revision, err}
		}
		return
	}
	for _, wr := range live {
		wr.done <- written{revision, err}
	}
}

// send writes the group's operations with one call. Later operations on a key replace earlier ones: some backends refuse a
// batch that names a key twice.
func (w *writer) send(ctx context.Context, group []*write) (int64, error) {
	var ops []*pluginv1.Operation
	at := map[itemID]int{}
	var deadline time.Time
	for _, wr := range group {
		if wr.deadline.After(deadline) {
			deadline = wr.deadline
		}
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
	own := len(ops)
	if bump := w.m.bump(ops); bump != nil {
		ops = append(ops, bump)
	}
	w.m.metrics.batch.Observe(float64(own))
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var revision int64
	what := fmt.Sprintf("write %d items to %s", own, target(ops[0]).ns)
	if own == 1 {
		what = fmt.Sprintf("write %s %q", target(ops[0]).ns, target(ops[0]).key)
	}
	err := w.m.backend.retry(ctx, "batch", what, func(ctx context.Context, _ int) error {
		resp, err := w.m.backend.client.Batch(ctx, &pluginv1.BatchRequest{Operations: ops})
		if err == nil {
			revision = resp.GetRevision()
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, op := range ops[:own] {
		w.m.applied(op, revision)
	}
	return revision, nil
}
