package meta

import (
	"context"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// jointCalls is how many conditional writes or batches of them may be under way before further ones wait and share a batch. A few keep a
// backend busy that works on several at a time; many would leave nothing to share.
const jointCalls = 4

// joint lets conditional writes of different callers share one Batch (group commit), on backends that check conditions and apply a Batch
// whole or not at all. While few writes are under way each has a call of its own, so sharing costs a lone write nothing.
//
// It answers only what is certain. If a condition does not hold, or the call fails, the caller makes a call of its own, which tells why.
type joint struct {
	b *backend

	mu      sync.Mutex
	waiting []*conditional
	// calls counts the calls under way.
	calls int
}

// conditional is a write that waits for a shared Batch. It holds the write gate until it is answered.
type conditional struct {
	ctx    context.Context
	op     *pluginv1.Operation
	answer chan shared // buffered
}

// shared is the outcome of a write in a shared Batch.
type shared struct {
	// done says that the write was applied, at revision. Otherwise it may have been applied only if uncertain is set.
	done, uncertain bool
	revision        int64
}

// write makes op part of a shared Batch and returns its outcome. If alone is true it did nothing: the caller makes the call itself, and
// then calls next. The caller must have entered the write gate.
func (j *joint) write(ctx context.Context, op *pluginv1.Operation) (out shared, alone bool) {
	j.mu.Lock()
	if j.calls < jointCalls {
		j.calls++
		j.mu.Unlock()
		return shared{}, true
	}
	c := &conditional{ctx: ctx, op: op, answer: make(chan shared, 1)}
	j.b.gate.stay()
	j.waiting = append(j.waiting, c)
	j.mu.Unlock()
	select {
	case out = <-c.answer:
		return out, false
	case <-ctx.Done():
		return shared{uncertain: true}, false
	}
}

// next ends a call, and makes the next one if writes wait.
func (j *joint) next() {
	if group := j.take(); len(group) > 0 {
		go func() {
			j.send(group)
			j.next()
		}()
	}
}

// take returns the writes of the next call, which are on different keys and fit a Batch. If none wait, the call's turn ends.
func (j *joint) take() []*conditional {
	j.mu.Lock()
	defer j.mu.Unlock()
	var group, later []*conditional
	keys, size := map[itemID]struct{}{}, 0
	for _, c := range j.waiting {
		id, bytes := target(c.op), weight(c.op)
		_, twice := keys[id]
		switch {
		case c.ctx.Err() != nil:
			j.answer(c, shared{})
		case twice || len(group) == maxBatchOperations || len(group) > 0 && size+bytes > maxBatchBytes:
			later = append(later, c)
		default:
			group, size = append(group, c), size+bytes
			keys[id] = struct{}{}
		}
	}
	j.waiting = later
	if len(group) == 0 {
		j.calls--
	}
	return group
}

func (j *joint) answer(c *conditional, out shared) {
	c.answer <- out
	j.b.gate.part()
}

// send writes a group. A write whose condition does not hold is taken out, once, and the others are sent again. After a second one the
// rest are left to their callers.
func (j *joint) send(group []*conditional) {
	var out shared
	for range 2 {
		resp, err := j.batch(group)
		if err != nil {
			out.uncertain = true
			j.b.metrics.errors.WithLabelValues("batch").Inc()
			break
		}
		if out.done = resp.GetDone(); out.done {
			out.revision = resp.GetRevision()
			break
		}
		failed := int(resp.GetFailedIndex())
		if failed >= len(group) {
			break
		}
		j.answer(group[failed], shared{})
		if group = append(group[:failed:failed], group[failed+1:]...); len(group) == 0 {
			return
		}
	}
	for _, c := range group {
		j.answer(c, out)
	}
}

// batch makes the call. It has the call time-out for itself, however long its writes have waited.
func (j *joint) batch(group []*conditional) (*pluginv1.BatchResponse, error) {
	ops := make([]*pluginv1.Operation, len(group))
	for i, c := range group {
		ops[i] = c.op
	}
	ctx, cancel := context.WithTimeout(context.Background(), j.b.callTimeout)
	defer cancel()
	j.b.metrics.batch.Observe(float64(len(ops)))
	return j.b.client().Batch(ctx, &pluginv1.BatchRequest{Operations: ops})
}
