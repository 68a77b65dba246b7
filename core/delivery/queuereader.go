package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// fetchLimit is how many records a read of the store asks for that needs only a few (RocketMQ returns at most 32); see ahead for others.
const fetchLimit = 32

// QueueReader reads one queue on one broker, by offset.
type QueueReader struct {
	view  *queueView
	owner Owner
	// start and offset belong to the goroutine that uses the reader.
	start  int64 // first offset of the subscription
	offset int64 // next offset to hand out
	cuts   int32 // after how many cuts of the broker's log both are valid
	shift  int64 // how far the last record handed out states an offset beyond its place
	log    int64 // where that record lies in the broker's log; kept where shift is above 0, and for what was fetched
	// Guarded by the source's mutex.
	seq    uint64
	live   bool
	idle   bool
	closed bool
	ahead  *ahead // nil unless the reader is behind

	empty int // consecutive fetches that found nothing
	// beyond is since when the queue has ended before the offset; zero: it does not.
	beyond time.Time
}

// beganAnewAfter is how long a queue may end before a reader's offset until it counts as begun anew. A tail can bring a record before the
// index of its queue has it; on a busy broker the index lags behind for seconds.
const beganAnewAfter = 5 * time.Second

// beganAnewPause is the pause between two looks at such a queue.
const beganAnewPause = 50 * time.Millisecond

// Filter implements Reader.
func (r *QueueReader) Filter() string { return r.view.src.filter }

// Ref returns the queue that the reader reads.
func (r *QueueReader) Ref() store.QueueRef { return r.view.ref }

// Offset returns the next offset that the reader hands out.
func (r *QueueReader) Offset() int64 { return r.offset }

// Passed reports whether the reader has already handed out a record, judging by the record's offset in the queue.
func (r *QueueReader) Passed(rec *store.Record) bool {
	if rec.Position.Broker != r.view.ref.Broker {
		return false
	}
	offset, ok := rec.Offset(r.view.ref.Queue)
	if r.shift > 0 { // the next record may lie by another distance, so its offset tells nothing
		return ok && rec.Cuts == r.cuts && offset >= r.start && rec.Position.Log <= r.log
	}
	return ok && rec.Cuts == r.cuts && offset >= r.start && offset < r.offset
}

// Covers reports whether the reader has handed out or will hand out a record, judging by the record's offset in the queue.
func (r *QueueReader) Covers(rec *store.Record) bool {
	if rec.Position.Broker != r.view.ref.Broker {
		return false
	}
	offset, ok := rec.Offset(r.view.ref.Queue)
	return ok && (offset >= r.start || rec.Cuts > r.cuts)
}

// Next implements Reader.
func (r *QueueReader) Next(limit int, out []Item) ([]Item, State) {
	v := r.view
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	if r.closed {
		return out, Idle
	}
	if !r.live {
		if !v.join(r) {
			return out, Behind
		}
		r.ahead.close()
		r.ahead = nil
	}
	for ; limit > 0 && r.seq < v.end(); r.seq++ {
		e := v.at(r.seq)
		e.refs--
		if !e.late {
			if e.offset < r.offset {
				continue
			}
			r.offset = e.offset + 1
			if v.shift > 0 || r.shift > 0 {
				r.shift, r.log = shiftOf(e.rec, v.ref.Queue, e.offset), e.rec.Position.Log
			}
		}
		if !e.foreign {
			out = append(out, Item{Record: e.rec, Next: r.offset})
			limit--
		}
	}
	v.trim()
	if r.seq < v.end() {
		return out, Ready
	}
	r.idle = true
	return out, Idle
}

// Fetch implements Reader.
func (r *QueueReader) Fetch(ctx context.Context, limit int, out []Item) ([]Item, error) {
	v := r.view
	hub := v.src.hub
	if r.empty > 1 {
		// The window is ahead of what the store's index shows so far.
		if err := wait.For(ctx, time.Duration(min(r.empty, 20))*5*time.Millisecond); err != nil {
			return out, err
		}
	}
	if r.cuts != hub.store.Cuts(v.ref.Broker) {
		return out, r.goBack(ctx)
	}
	from := r.offset
	batch, err := r.aheadOfIt().read(from, limit, func(n int) (store.Batch, error) { return hub.store.Read(ctx, v.ref, from, n) })
	if err != nil {
		return out, err
	}
	if batch.Cuts != r.cuts {
		return out, r.goBack(ctx)
	}
	if batch.Next < from && !r.beganAnew() {
		return out, wait.For(ctx, beganAnewPause)
	}
	r.beyond = time.Time{}
	if batch.Min > from {
		hub.lost(v.ref, from, batch.Min)
	}
	v.src.mu.Lock()
	v.learn(batch)
	v.src.mu.Unlock()
	if n := len(batch.Records); n > 0 {
		r.shift, r.log = shiftOf(batch.Records[n-1], v.ref.Queue, batch.Offsets[n-1]), batch.Records[n-1].Position.Log
	}
	for i, rec := range batch.Records {
		r.offset = batch.Offsets[i] + 1
		if v.src.accepts(rec) {
			out = append(out, Item{Record: rec, Next: r.offset})
		}
	}
	hub.metrics.refetched.Add(float64(len(batch.Records)))
	r.offset = batch.Next
	if batch.Next < from {
		r.start = batch.Next
		hub.log.Warn("queue began anew; going on from its first record", "queue", v.ref.Queue, "broker", v.ref.Broker,
			"offset", from, "first", batch.Next)
	}
	if len(batch.Records) > 0 || batch.Next != from {
		r.empty = 0
		return out, nil
	}
	r.empty++
	r.drained(batch.Max)
	return out, nil
}

// beganAnew reports whether the queue has ended before the offset for so long that it must have begun anew.
func (r *QueueReader) beganAnew() bool {
	if r.beyond.IsZero() {
		r.beyond = time.Now()
	}
	return time.Since(r.beyond) >= beganAnewAfter
}

// goBack makes the offset valid after the broker's log was cut. If others have taken the places of records that the reader has handed out,
// it moves back to the first of them.
func (r *QueueReader) goBack(ctx context.Context) error {
	v := r.view
	hub := v.src.hub
	at, cuts, err := hub.store.Resume(ctx, v.ref, r.offset, hub.store.Mark(v.ref.Broker, r.cuts))
	if err != nil {
		return err
	}
	if at < r.offset {
		hub.log.Info("a broker lost the newest records of a queue; going on where they are missing", "queue", v.ref.Queue,
			"broker", v.ref.Broker, "offset", r.offset, "first", at)
	}
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	r.ahead.close()
	r.ahead = nil
	r.cuts, r.offset, r.start, r.empty, r.shift, r.log = cuts, at, min(r.start, at), 0, 0, 0
	v.follow(cuts)
	return nil
}

// Cuts returns after how many cuts of the broker's log the reader's offset is valid; see store.Store.
func (r *QueueReader) Cuts() int32 { return r.cuts }

// After sets after how many cuts of the broker's log the offset is valid at which the reader was opened. It must be called before the
// reader is used.
func (r *QueueReader) After(cuts int32) { r.cuts = cuts }

// aheadOfIt returns what the reader has read in advance.
func (r *QueueReader) aheadOfIt() *ahead {
	s := r.view.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ahead == nil {
		r.ahead = &ahead{hub: s.hub, closed: r.closed}
	}
	return r.ahead
}

// Begin sets where a reader begins that was opened before its start was known. It must be called before the reader is used.
func (r *QueueReader) Begin(start, offset int64) { r.start, r.offset = start, offset }

// AtEnd tells the reader that the store has nothing more at its offset, as seen after the reader was opened. It saves the reader its first
// read. Only the goroutine that uses the reader may call it.
func (r *QueueReader) AtEnd() { r.drained(r.offset) }

// drained is called when the store has nothing more at the cursor. end is where its index of the queue ends.
func (r *QueueReader) drained(end int64) {
	v := r.view
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	switch {
	case r.cuts != v.cuts:
	case !v.known:
		v.known, v.next, v.fedFrom, v.got = true, r.offset, r.offset, 0
		if v.shift > 0 {
			v.got = r.log
		}
		if v.missing() {
			v.look()
		}
		// A record may lie between the end that the store reported and the first record that the tail brings.
		v.src.hub.verifySoon(v)
	case v.next > r.offset && end <= r.offset && v.len() > 0 && r.empty <= 2*lagRetries: // the store's index lags behind the window
	case v.next > r.offset && r.empty > gapRetries && v.len() > 0 && v.first().offset > r.offset:
		// The store has nothing before the window: the offsets in between were skipped.
		v.src.hub.metrics.gaps.Inc()
		r.offset = v.first().offset
	case v.next > r.offset && r.empty > gapRetries && v.len() == 0:
		v.next = r.offset
	}
}

// Skip implements Reader. Records of a queue are never skipped.
func (r *QueueReader) Skip() int64 { return 0 }

// Close implements Reader.
func (r *QueueReader) Close() {
	v := r.view
	s := v.src
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return
	}
	r.closed = true
	r.ahead.close()
	if r.live {
		v.part(r)
	}
	if i := slices.Index(v.readers, r); i >= 0 {
		v.readers = slices.Delete(v.readers, i, i+1)
	}
	if len(v.readers) == 0 {
		for v.len() > 0 {
			s.hub.buffered.Add(-v.pop())
		}
		v.begin()
		delete(s.queues, v.ref)
	} else {
		v.trim()
	}
	s.mu.Unlock()
	s.hub.release(s)
}
