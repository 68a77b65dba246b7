package rocketmq

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// Bounds of a batch: its messages, and their bytes including properties. Brokers refuse batches over their limit for one message, which an
// operator may have set lower than the default of 4 MiB.
const (
	batchMessages = 256
	batchBytes    = 256 << 10
)

// batch is what an operation stores besides its first message. Brokers create no entries in light message queues for records of a batch, so
// only messages without queues are batched.
type batch struct {
	ids     []string // of all messages, like appends and records
	appends []store.Append
	records []record
}

// AppendBatch implements store.Store.
func (s *Store) AppendBatch(ctx context.Context, appends []store.Append, done func(int, store.Position, error)) {
	n := 0
	if _, ok := s.sender.(batchSender); ok {
		for n < len(appends) && n < batchMessages && len(appends[n].Queues) == 0 {
			n++
		}
	}
	if n < 2 {
		s.appendOne(ctx, appends[0], done)
		return
	}
	if err := s.begin(); err != nil {
		done(1, store.Position{}, err)
		return
	}
	b := &batch{}
	size := 0
	for i := range appends[:n] {
		id := s.ids.next()
		records, err := encode(id, &appends[i])
		if err != nil {
			break // it begins the next call, which reports the error
		}
		if size += records[0].size(); i > 0 && size > batchBytes {
			break
		}
		b.ids, b.records = append(b.ids, id), append(b.records, records[0])
	}
	if len(b.ids) < 2 {
		s.end()
		s.appendOne(ctx, appends[0], done)
		return
	}
	if err := s.slot(ctx); err != nil {
		s.end()
		done(1, store.Position{}, err)
		return
	}
	b.cut(s.moreSlots(len(b.ids)-1) + 1)
	b.appends = appends[:len(b.ids)]
	s.metrics.inFlight.Add(float64(len(b.ids)))
	op := &operation{s: s, ctx: ctx, id: b.ids[0], append: appends[0], records: b.records[:1], left: 1, began: time.Now(), batch: b}
	op.done = func(p store.Position, err error) { done(op.messages(), p, err) }
	op.attempt()
}

func (s *Store) appendOne(ctx context.Context, a store.Append, done func(int, store.Position, error)) {
	s.Append(ctx, a, func(p store.Position, err error) { done(1, p, err) })
}

// moreSlots takes up to n free slots for appends in flight and returns how many it took. It does not wait.
func (s *Store) moreSlots(n int) int {
	for i := range n {
		select {
		case s.slots <- struct{}{}:
		default:
			return i
		}
	}
	return n
}

func (b *batch) cut(n int) { b.ids, b.records = b.ids[:n], b.records[:n] }

// size is the approximate size of the record in a batch, in bytes.
func (r *record) size() int {
	n := len(r.body) + 32
	for _, p := range r.props {
		n += len(p.Name) + len(p.Value) + 2
	}
	return n
}

// messages returns how many messages the operation stores.
func (op *operation) messages() int {
	if op.batch == nil {
		return 1
	}
	return len(op.batch.ids)
}

// alone reduces the operation to its first message, because the broker does not accept the batch.
func (op *operation) alone() {
	more := op.messages() - 1
	op.batch = nil
	op.s.release(more)
	op.attempt()
}

// send sends the batch. When the answer arrives, op.batch may be nil because of another attempt, so the callback uses b.
func (b *batch) send(op *operation, t target) {
	if len(b.ids) == 1 { // there was room for only one
		op.s.sender.send(op.ctx, t, b.records[0], op.sent)
		return
	}
	sender, _ := op.s.sender.(batchSender) // AppendBatch has checked the type
	sender.sendBatch(op.ctx, t, b.records, func(res sent, err error) {
		if err == nil {
			b.stored(op.s, t.Broker, res)
		}
		op.sent(res, err)
	})
}

// stored reports to this node's tails what is stored, except the first message, which the operation reports.
func (b *batch) stored(s *Store, broker string, res sent) {
	for i := len(b.ids) - 1; i > 0; i-- {
		s.own.stored(b.ids[i], &b.appends[i], res.position(broker, i))
	}
}

// retained returns the position of the last message of a batch of retained messages. Some brokers do not report the log offsets of a batch.
// Then retained reads the record from the broker, because retained values are ordered by position. The broker's index follows its log
// within milliseconds.
func (b *batch) retained(op *operation, last store.Position) store.Position {
	if last.Log >= 0 {
		return op.timed(last)
	}
	at := store.Partition{Broker: last.Broker, ID: last.Partition}
	ctx, cancel := context.WithTimeout(op.ctx, visibleFor)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		found, err := op.s.ReadPartition(ctx, op.append.Topic, at, last.Offset, 1)
		if err == nil && len(found.Records) > 0 && found.Records[0].Position.Offset == last.Offset {
			return found.Records[0].Position
		}
		if wait.For(ctx, pause) != nil {
			op.s.log.Warn("the place of a retained message in the broker's log is not known, the broker did not tell it",
				"topic", op.append.Topic, "broker", last.Broker, "error", err)
			return last
		}
	}
}
