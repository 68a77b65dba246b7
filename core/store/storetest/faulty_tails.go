package storetest

import (
	"context"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// The faults of tails: records that they miss, and times in which they stand still.

// MissInTails makes tails of the first-level topic miss the next n records.
func (f *Faulty) MissInTails(topic string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missing[topic] = n
}

// HoldTails blocks all tails, as if they were slow, until release is called.
func (f *Faulty) HoldTails() (release func()) { return f.HoldTailsAt(0) }

// HoldTailsAt is HoldTails, except that tails of first-level topics still bring the records before an offset. The latest call counts for
// what no earlier one holds.
func (f *Faulty) HoldTailsAt(offset int64) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held, f.from = held, offset
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(held)
		if f.held == held {
			f.held = nil
		}
	})
}

// free returns how many of a topic's next records its tails need not hold.
func (f *Faulty) free(records []*store.Record) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		return len(records)
	}
	n := 0
	for n < len(records) && records[n].Position.Offset < f.from {
		n++
	}
	return n
}

func (f *Faulty) await() {
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held != nil {
		<-held
	}
}

// Tail follows a topic, without the records that have to be missed.
func (f *Faulty) Tail(ctx context.Context, topic string, fn store.TailFunc) (store.Tail, error) {
	bring := func(p store.Partition, records []*store.Record) {
		f.mu.Lock()
		miss := min(f.missing[topic], len(records))
		f.missing[topic] -= miss
		f.mu.Unlock()
		if records = f.showAll(records[miss:]); len(records) > 0 {
			fn(p, records)
		}
	}
	t, err := f.Store.Tail(ctx, topic, func(p store.Partition, records []*store.Record) {
		for n := f.free(records); n < len(records); n = f.free(records) {
			bring(p, records[:n])
			records = records[n:]
			f.await()
		}
		bring(p, records)
	})
	return faultyTail{t, f}, err
}

type faultyTail struct {
	store.Tail
	f *Faulty
}

// Ends reports no records as stored if others append.
func (t faultyTail) Ends(call func(p store.Partition, begin, end int64)) {
	t.Tail.Ends(func(p store.Partition, begin, end int64) {
		if t.f.isShared() {
			end = begin
		}
		call(p, begin, end)
	})
}

// TailQueue follows a queue. Only the entries of its records have faults.
func (f *Faulty) TailQueue(ctx context.Context, queue string, fn store.TailFunc) (store.Tail, error) {
	return f.Store.TailQueue(ctx, queue, func(p store.Partition, records []*store.Record) {
		f.await()
		fn(p, f.showAll(records))
	})
}
