package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// appendOp is one append on its way into the log. An op without a topic is a barrier: its callback runs once all ops before it are done.
type appendOp struct {
	topic  *topicState
	msg    *store.Message
	queues []string
	from   string // the identity, or else the publisher
	done   func(store.Position, error)
	size   int   // estimated encoded size, in bytes
	weight int64 // its share of the budget

	record *store.Record // set by the committer
}

var appendOps = sync.Pool{New: func() any { return new(appendOp) }}

// opOverhead is the memory of an append in flight besides its bytes.
const opOverhead = 1024

// Append stores a message. See store.Store. Callbacks run on the publisher goroutine, in the order of the log. If an append is refused at
// once, its callback runs in Append itself.
func (s *Store) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	op, err := s.prepare(ctx, a, done)
	if err != nil {
		s.metrics.refused.Inc()
		done(store.Position{}, err)
		return
	}
	s.enqueue([]*appendOp{op})
}

// batchOps and batchBytes bound one batch of a key, so that other appends wait for it no longer than for a group commit.
const (
	batchOps   = 512
	batchBytes = 512 << 10
)

// AppendBatch stores messages together. See store.Store.
func (s *Store) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	op, err := s.prepare(ctx, batch[0], nil)
	if err != nil {
		s.metrics.refused.Inc()
		done(1, store.Position{}, err)
		return
	}
	ops := make([]*appendOp, 1, min(len(batch), batchOps))
	ops[0] = op
	for bytes := op.size; len(ops) < cap(ops) && bytes < batchBytes; bytes += op.size {
		if op, err = s.prepareNow(batch[len(ops)], nil); err != nil {
			break // it begins the next call, which reports the error or waits
		}
		if op.topic != ops[0].topic { // the topic was deleted and created again meanwhile
			s.budget.Give(op.weight)
			break
		}
		ops = append(ops, op)
	}
	b := &batchAnswer{left: len(ops), n: len(ops), done: done}
	for _, op := range ops {
		op.done = b.one
	}
	s.enqueue(ops)
}

// batchAnswer collects the outcomes of the records of a batch. A batch may be written in two parts, and its topic may be deleted between
// the two.
type batchAnswer struct {
	mu   sync.Mutex
	left int
	err  error // the first one
	last store.Position
	n    int
	done func(int, store.Position, error)
}

func (b *batchAnswer) one(p store.Position, err error) {
	b.mu.Lock()
	if b.err == nil {
		b.err = err
	}
	if err == nil && (b.last.Broker == "" || b.last.Offset < p.Offset) {
		b.last = p
	}
	b.left--
	over := b.left == 0
	b.mu.Unlock()
	if over {
		b.done(b.n, b.last, b.err)
	}
}

// enqueue passes ops to the committer, next to each other.
func (s *Store) enqueue(ops []*appendOp) {
	if !s.append.push(ops...) {
		for _, op := range ops {
			s.finish(op, store.Position{}, store.ErrClosed)
		}
		return
	}
	if failure := s.failure.Load(); failure != nil { // the store may have failed after the check in prepare
		s.append.drain(s, *failure)
	}
}

// prepare makes the op of an append, and waits until the budget has room for it.
func (s *Store) prepare(ctx context.Context, a store.Append, done func(store.Position, error)) (*appendOp, error) {
	op, err := s.check(a, done)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.budget.Take(ctx, op.from, op.weight); err != nil {
		return nil, err
	}
	return op, nil
}

// errNoRoom says that the budget has no room now.
var errNoRoom = errors.New("local store: too much is in flight")

// prepareNow is prepare without waiting.
func (s *Store) prepareNow(a store.Append, done func(store.Position, error)) (*appendOp, error) {
	op, err := s.check(a, done)
	if err != nil {
		return nil, err
	}
	if !s.budget.Try(op.weight) {
		return nil, errNoRoom
	}
	return op, nil
}

// check makes the op of an append if the store can accept it.
func (s *Store) check(a store.Append, done func(store.Position, error)) (*appendOp, error) {
	if s.closed.Load() {
		return nil, store.ErrClosed
	}
	if !s.started.Load() {
		return nil, notStarted()
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	t := s.lookupTopic(a.Topic)
	if t == nil {
		return nil, unknownTopic(a.Topic)
	}
	size := encodedSize(&a)
	if size > s.opts.MaxRecord {
		return nil, fmt.Errorf("local store: record for topic %q has %d bytes, the limit is %d: %w",
			a.Message.Topic, size, s.opts.MaxRecord, store.ErrTooLarge)
	}
	op := appendOps.Get().(*appendOp)
	*op = appendOp{topic: t, msg: a.Message, from: cmp.Or(a.Identity, a.Message.Publisher), queues: a.Queues, done: done,
		size: size, weight: min(int64(size+opOverhead), inFlightBytes)}
	return op, nil
}

// finish releases the op's resources and calls its callback.
func (s *Store) finish(op *appendOp, p store.Position, err error) {
	if op.topic != nil {
		if err != nil {
			s.metrics.refused.Inc()
		}
		s.budget.Give(op.weight)
	}
	done := op.done
	*op = appendOp{}
	appendOps.Put(op)
	if done != nil { // else the last op of the batch calls back
		done(p, err)
	}
}

// encodedSize returns an upper estimate of the record's size on disk before compression, in bytes.
func encodedSize(a *store.Append) int {
	m := a.Message
	n := headSize + 64 + len(m.Topic) + len(m.Publisher) + len(m.Payload)
	for _, q := range a.Queues {
		n += len(q) + 12
	}
	if p := m.Properties; p != nil {
		n += 32 + len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += len(u.Key) + len(u.Value) + 10
		}
	}
	return n
}
