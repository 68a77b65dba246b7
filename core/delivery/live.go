package delivery

import (
	"context"
	"slices"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// tailView is a window of the records that the tail brought, with its readers. Its source's mutex guards it.
type tailView struct {
	window
	readers []*LiveReader
	// newest is the start of the reader that opened last.
	newest *starts
}

func (v *tailView) used() bool { return len(v.readers) > 0 }

// add appends a record for all readers and signals those that wait.
func (v *tailView) add(h *Hub, e entry) {
	e.refs = int32(len(v.readers))
	v.push(e)
	h.buffered.Add(int64(e.rec.Size()))
	if v.len() > maxEntries || v.bytes > maxBytes || h.overBudget() {
		v.shrink(h)
	}
	for _, r := range v.readers {
		if r.idle {
			r.idle = false
			r.owner.ReaderReady(r)
		}
	}
}

// shrink drops the older half. Readers that have not read it remember what they missed and read that from the store.
func (v *tailView) shrink(h *Hub) {
	drop := (v.len() + 1) / 2
	for _, r := range v.readers {
		for seq := max(r.seq, v.base); seq < v.base+uint64(drop); seq++ {
			r.miss(v.at(seq).from)
		}
		r.seq = max(r.seq, v.base+uint64(drop))
	}
	for range drop {
		h.buffered.Add(-v.pop())
	}
}

// trim drops the entries that every reader has read.
func (v *tailView) trim(h *Hub) {
	for v.len() > 0 && v.first().refs <= 0 {
		h.buffered.Add(-v.pop())
	}
}

// span is a range of offsets, both ends included, that a reader missed.
type span struct{ lo, hi int64 }

// LiveReader reads a source's tail window. Records that have left the window are read again from the store.
type LiveReader struct {
	src   *source
	view  *tailView
	owner Owner
	loose bool
	start *starts
	// Guarded by src.mu.
	skips  []skip
	seq    uint64
	idle   bool
	closed bool
	missed map[origin]span
	aheads map[origin]*ahead // for origins of missed
}

// Filter implements Reader.
func (r *LiveReader) Filter() string { return r.src.filter }

func (r *LiveReader) miss(o origin) {
	if r.missed == nil {
		r.missed = make(map[origin]span)
	}
	s, ok := r.missed[o.key()]
	if !ok {
		s.lo = o.offset
		s.hi = o.offset
	}
	s.lo, s.hi = min(s.lo, o.offset), max(s.hi, o.offset)
	r.missed[o.key()] = s
}

// Next implements Reader.
func (r *LiveReader) Next(limit int, out []Item) ([]Item, State) {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.closed {
		return out, Idle
	}
	if len(r.missed) > 0 {
		return out, Behind
	}
	v := r.view
	r.seq = max(r.seq, v.base)
	for ; limit > 0 && r.seq < v.end(); r.seq++ {
		e := v.at(r.seq)
		e.refs--
		early := e.late || len(r.skips) > 0 && r.leaves(e.from)
		if early && !e.rec.Retain {
			continue
		}
		out = append(out, Item{Record: e.rec, Early: early})
		limit--
	}
	v.trim(r.src.hub)
	if r.seq < v.end() {
		return out, Ready
	}
	r.idle = true
	return out, Idle
}

// Fetch implements Reader. It reads concurrently from the physical queues in which the reader is behind. The error wraps ErrTooFarBehind if
// the backlog exceeds Options.MaxBehind records.
func (r *LiveReader) Fetch(ctx context.Context, limit int, out []Item) ([]Item, error) {
	type read struct {
		from origin
		span
		ahead *ahead
		batch store.Batch
		err   error
	}
	var reads []*read
	var total int64
	r.src.mu.Lock()
	for from, m := range r.missed {
		total += m.hi - m.lo + 1
		if len(reads) < parallelReads {
			reads = append(reads, &read{from: from, span: m, ahead: r.aheadOf(from)})
		}
	}
	r.src.mu.Unlock()
	if total > r.src.hub.maxBehind {
		return out, ErrTooFarBehind
	}
	var wg sync.WaitGroup
	for _, rd := range reads[min(1, len(reads)):] {
		wg.Go(func() { rd.batch, rd.err = r.readAhead(ctx, rd.ahead, rd.from, rd.span, limit) })
	}
	if len(reads) > 0 {
		reads[0].batch, reads[0].err = r.readAhead(ctx, reads[0].ahead, reads[0].from, reads[0].span, limit)
	}
	wg.Wait()
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	var failed error
	had := len(out)
	for _, rd := range reads {
		if rd.err != nil {
			failed = rd.err
			continue
		}
		out = r.merge(rd.from, rd.lo, rd.batch, out)
	}
	if len(out) > had {
		return out, nil // the next call repeats the reads that failed
	}
	return out, failed
}

// parallelReads bounds the physical queues that one Fetch reads concurrently.
const parallelReads = 8

// merge adds the records that were read again from one origin. Called with src.mu held.
func (r *LiveReader) merge(from origin, lo int64, batch store.Batch, out []Item) []Item {
	r.src.hub.metrics.refetched.Add(float64(len(batch.Records)))
	now, ok := r.missed[from] // the span may have grown during the read
	if !ok {
		return out
	}
	for i, rec := range batch.Records {
		if batch.Offsets[i] > now.hi {
			break
		}
		early := r.loose && !r.src.lacksQueue(from.topic, rec)
		if len(r.skips) > 0 && !early {
			at := from
			at.offset = batch.Offsets[i]
			early = r.leaves(at)
		}
		if r.src.accepts(rec) && (!early || rec.Retain) {
			out = append(out, Item{Record: rec, Early: early})
		}
	}
	if batch.Next <= lo || batch.Next > now.hi {
		delete(r.missed, from)
		r.aheads[from].close()
		delete(r.aheads, from)
	} else {
		r.missed[from] = span{lo: batch.Next, hi: now.hi}
	}
	return out
}

// aheadOf returns what the reader has read in advance from an origin. Called with src.mu held.
func (r *LiveReader) aheadOf(from origin) *ahead {
	a := r.aheads[from]
	if a == nil {
		a = &ahead{hub: r.src.hub, closed: r.closed}
		if r.aheads == nil {
			r.aheads = make(map[origin]*ahead)
		}
		r.aheads[from] = a
	}
	return a
}

// forgetAheads drops everything that was read in advance. Called with src.mu held.
func (r *LiveReader) forgetAheads() {
	for _, a := range r.aheads {
		a.close()
	}
	r.aheads = nil
}

// readAhead reads up to limit records of a span, and further ones in advance.
func (r *LiveReader) readAhead(ctx context.Context, a *ahead, from origin, s span, limit int) (store.Batch, error) {
	return a.read(s.lo, limit, func(n int) (store.Batch, error) {
		return r.read(ctx, from, s.lo, int(min(int64(n), s.hi-s.lo+1)))
	})
}

func (r *LiveReader) read(ctx context.Context, from origin, offset int64, limit int) (store.Batch, error) {
	st := r.src.hub.store
	if from.queue != "" {
		return st.Read(ctx, store.QueueRef{Queue: from.queue, Broker: from.partition.Broker}, offset, limit)
	}
	return st.ReadPartition(ctx, from.topic, from.partition, offset, limit)
}

// Skip implements Reader.
func (r *LiveReader) Skip() int64 {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	var n int64
	for _, s := range r.missed {
		n += s.hi - s.lo + 1
	}
	r.missed = nil
	r.forgetAheads()
	return n
}

// Close implements Reader.
func (r *LiveReader) Close() {
	s := r.src
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return
	}
	r.closed = true
	r.forgetAheads()
	v := r.view
	for seq := max(r.seq, v.base); seq < v.end(); seq++ {
		v.at(seq).refs--
	}
	if i := slices.Index(v.readers, r); i >= 0 {
		last := len(v.readers) - 1
		v.readers[i] = v.readers[last]
		v.readers[last] = nil
		v.readers = v.readers[:last]
	}
	v.trim(s.hub)
	s.mu.Unlock()
	s.hub.release(s)
}
