package delivery

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// aheadRecords is how many records one read of the store asks for at most. aheadBytes is the approximate size of what one reader holds.
	aheadRecords = 512
	aheadBytes   = 256 << 10
	// aheadShare is the part of Options.MaxBuffered that all readers together may hold.
	aheadShare = 4
)

// ahead holds what a reader that is behind has read from a queue in advance. A read of the store costs nearly as much for 32 records as for
// hundreds, and a session takes only a few at a time.
type ahead struct {
	hub *Hub

	mu     sync.Mutex
	batch  store.Batch // what is left
	from   int64       // the offset at which batch begins
	bytes  int64       // size of its records, charged to the hub
	most   int         // how many records the next read asks for; it grows while the reader stays behind
	closed bool
}

// read returns up to limit records from offset on, as a read of the store does. It calls load, at most once, to read n of them. One
// goroutine at a time may call it.
func (a *ahead) read(offset int64, limit int, load func(n int) (store.Batch, error)) (store.Batch, error) {
	a.mu.Lock()
	if len(a.batch.Records) > 0 && a.from == offset {
		defer a.mu.Unlock()
		return a.cut(limit), nil
	}
	a.drop()
	n := limit
	if a.hub.aheadRoom() {
		n = max(limit, a.most)
	}
	a.mu.Unlock()
	batch, err := load(n)
	if err != nil {
		return batch, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batch, a.bytes = batch, sizeOf(batch.Records)
	a.hub.ahead.Add(a.bytes)
	a.most = aheadRecords
	if got := len(batch.Records); got > 0 {
		a.most = min(aheadRecords, 2*n, max(limit, int(int64(got)*aheadBytes/max(a.bytes, 1))))
	}
	out := a.cut(limit)
	if a.closed {
		a.drop()
	}
	return out, nil
}

// cut takes the next records from the batch. Called with mu held.
func (a *ahead) cut(limit int) store.Batch {
	out := a.batch
	if len(out.Records) <= limit {
		a.drop()
		return out
	}
	out.Records, out.Offsets, out.Next = out.Records[:limit:limit], out.Offsets[:limit:limit], out.Offsets[limit]
	a.batch.Records, a.batch.Offsets, a.from = a.batch.Records[limit:], a.batch.Offsets[limit:], out.Next
	taken := sizeOf(out.Records)
	a.bytes -= taken
	a.hub.ahead.Add(-taken)
	return out
}

// sizeOf returns the approximate memory of records, in bytes.
func sizeOf(records []*store.Record) (bytes int64) {
	for _, rec := range records {
		bytes += int64(rec.Size())
	}
	return bytes
}

// drop forgets the batch. Called with mu held.
func (a *ahead) drop() {
	a.hub.ahead.Add(-a.bytes)
	a.batch, a.bytes = store.Batch{}, 0
}

// close drops what is held, and what a read that is under way brings.
func (a *ahead) close() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
	a.closed = true
}

// aheadRoom reports whether readers may hold more records in advance.
func (h *Hub) aheadRoom() bool { return h.ahead.Load() < h.budget/aheadShare }
