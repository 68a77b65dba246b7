package transfer

import (
	"context"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Bounds of one Batch, the same as in core/meta.
const (
	maxBatchOperations = 100
	maxBatchBytes      = 1 << 20
	// batchTimeout bounds one Batch including its retries.
	batchTimeout = time.Minute
)

// Changes counts what a copy did.
type Changes struct {
	Written int64 // entries that were missing or had another value
	Removed int64
}

// Copy makes the target's namespaces equal to the source's: it writes entries that are missing or have another value, and removes entries
// that the source does not have. Values that are no longer needed are left out. The sums describe the state before the copy.
func Copy(ctx context.Context, from, to pluginv1.MetaClient, o Options) (*Sums, Changes, error) {
	b := newBatch(to)
	var done Changes
	sums, err := Compare(ctx, from, to, o, func(d Difference) error {
		if d.A == nil {
			done.Removed++
			return b.remove(ctx, d.B)
		}
		ttl, keep := o.lifetime(d.A)
		if !keep {
			return nil
		}
		done.Written++
		return b.put(ctx, d.A, ttl)
	})
	if err == nil {
		err = b.flush(ctx)
	}
	return sums, done, err
}

// batch collects writes to a backend.
type batch struct {
	client pluginv1.MetaClient
	ops    []*pluginv1.Operation
	bytes  int
}

func newBatch(client pluginv1.MetaClient) *batch { return &batch{client: client} }

func (b *batch) put(ctx context.Context, e *Entry, ttl time.Duration) error {
	return b.add(ctx, &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: &pluginv1.PutRequest{
		Namespace: e.Namespace, Key: e.Key, Value: e.Value, TtlMs: ttl.Milliseconds()}}}, len(e.Key)+len(e.Value))
}

func (b *batch) remove(ctx context.Context, e *Entry) error {
	return b.add(ctx, &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{
		Namespace: e.Namespace, Key: e.Key}}}, len(e.Key))
}

func (b *batch) add(ctx context.Context, op *pluginv1.Operation, size int) error {
	if len(b.ops) >= maxBatchOperations || len(b.ops) > 0 && b.bytes+size > maxBatchBytes {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.ops, b.bytes = append(b.ops, op), b.bytes+size+64
	return nil
}

// flush writes the collected operations. They are idempotent, so flush retries until the time-out.
func (b *batch) flush(ctx context.Context) error {
	if len(b.ops) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		resp, err := b.client.Batch(ctx, &pluginv1.BatchRequest{Operations: b.ops})
		if err == nil && !resp.GetDone() {
			err = fmt.Errorf("operation %d was refused", resp.GetFailedIndex())
		}
		if err == nil {
			b.ops, b.bytes = b.ops[:0], 0
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		if permanent(err) || ctx.Err() != nil {
			return fmt.Errorf(
				"target: write %d entries, the first %s %q: %w",
				len(b.ops),
				place(b.ops[0]).Namespace,
				place(b.ops[0]).Key,
				err,
			)
		}
	}
}

func place(op *pluginv1.Operation) Entry {
	if p := op.GetPut(); p != nil {
		return Entry{Namespace: p.GetNamespace(), Key: p.GetKey()}
	}
	return Entry{Namespace: op.GetDelete().GetNamespace(), Key: op.GetDelete().GetKey()}
}
