package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

const (
	// gapDelay is how long an offset may be missing before the store is asked for it. Records of one queue come through several physical
	// queues, so some disorder is normal.
	gapDelay = 30 * time.Millisecond
	// gapRetries is how often the store is asked for a missing offset before the offset counts as skipped.
	gapRetries = 6
	// lagRetries is the same where the store's index ends at the offset: it lags behind the tail, and may still bring the offset. It is
	// about a minute.
	lagRetries = 300
	// maxPending bounds the records that wait for a missing offset.
	maxPending = 4096
)

// queueView is a node's ordered window of one queue on one broker, shared by all its readers. Its source's mutex guards it.
type queueView struct {
	window
	src     *source
	ref     store.QueueRef
	readers []*QueueReader
	live    int // number of readers that read the window
	// cuts is how often the broker's log had been cut when the offsets of the window were valid.
	cuts int32
	// next is the offset after the last one in the window. It is valid only while known is true.
	next  int64
	known bool
	// fedFrom is the first offset that came through the tail. Records at lower offsets were read from the store.
	fedFrom int64
	// pending holds records at offsets beyond next, sorted by offset.
	pending []entry
	// filled holds, by offset, the ids of records that were read from the store before the tail brought them.
	filled   map[int64]string
	filling  bool
	attempts int
	// awaits is the id of the newest message whose follow-up record the view looks for; empty: none. asked: another read of the store is
	// wanted once the present one, for which reading is set, is over.
	awaits         string
	asked, reading bool
	// shift is how far the offsets that records state lie beyond their places, judged by the record of the queue at judged in the broker's
	// log. If it is above 0, only the store feeds the window: so far up to got in the log. due is the newest record that the tail brought.
	shift, judged, due, got int64
}

// add takes a record of the queue from a tail. Records may come in any order; their topic matches.
func (v *queueView) add(rec *store.Record, offset int64) {
	if len(v.readers) == 0 || rec.Cuts < v.cuts {
		return
	}
	v.follow(rec.Cuts)
	switch {
	case v.shift > 0:
		v.await(rec)
		return
	case v.got > 0 && rec.Position.Log <= v.got:
		return // read from the store when its offset was not its place
	}
	if !v.known {
		v.known, v.next, v.fedFrom = true, offset, offset
	}
	switch {
	case offset == v.next:
		v.take(entry{rec: rec, offset: offset})
		v.drain()
	case offset > v.next:
		v.postpone(entry{rec: rec, offset: offset})
	case v.filled[offset] == rec.ID:
		delete(v.filled, offset)
	case offset >= v.fedFrom:
		// Two messages at one offset: the index holds one of them, the tail brings both.
		v.src.hub.metrics.repeated.Inc()
		v.take(entry{rec: rec, offset: offset, late: true})
	}
	v.wake()
}

// take appends a record to the window.
func (v *queueView) take(e entry) {
	e.refs = int32(v.live)
	if !e.late {
		v.next = e.offset + 1
	}
	h := v.src.hub
	v.push(e)
	h.buffered.Add(int64(e.rec.Size()))
	if v.len() > maxEntries || v.bytes > maxBytes || h.overBudget() {
		v.shrink()
	}
	v.trim()
}

// shrink drops the older half. Readers that have not read it continue from the store.
func (v *queueView) shrink() {
	drop := (v.len() + 1) / 2
	for _, r := range v.readers {
		if r.live && r.seq < v.base+uint64(drop) {
			v.part(r)
		}
	}
	for range drop {
		v.src.hub.buffered.Add(-v.pop())
	}
}

// part detaches a reader from the window; it continues from the store.
func (v *queueView) part(r *QueueReader) {
	for seq := max(r.seq, v.base); seq < v.end(); seq++ {
		v.at(seq).refs--
	}
	r.live = false
	v.live--
}

func (v *queueView) trim() {
	linger := 0
	if v.live < len(v.readers) && !v.src.hub.overBudget() {
		linger = lingerEntries
	}
	for v.len() > linger && v.first().refs <= 0 {
		v.src.hub.buffered.Add(-v.pop())
	}
}

// join attaches a reader that has caught up to the window, and reports whether that was possible.
func (v *queueView) join(r *QueueReader) bool {
	seq := v.end()
	switch {
	case !v.known, r.cuts != v.cuts:
		return false
	case r.offset >= v.next:
	default:
		i := v.head
		for i < len(v.entries) && v.entries[i].late {
			i++
		}
		if i == len(v.entries) || v.entries[i].offset > r.offset {
			return false
		}
		for seq = v.base; seq < v.end() && (v.at(seq).late || v.at(seq).offset < r.offset); seq++ {
		}
	}
	for s := seq; s < v.end(); s++ {
		v.at(s).refs++
	}
	r.seq, r.live = seq, true
	v.live++
	return true
}

// postpone keeps a record until the records missing before it have come, or are known not to exist.
func (v *queueView) postpone(e entry) {
	i, found := slices.BinarySearchFunc(v.pending, e.offset, func(p entry, o int64) int { return int(p.offset - o) })
	if found {
		return
	}
	if len(v.pending) >= maxPending {
		v.forget()
		return
	}
	v.pending = slices.Insert(v.pending, i, e)
	v.look()
}

// drain moves pending records that have become due into the window.
func (v *queueView) drain() {
	n := 0
	for n < len(v.pending) && v.pending[n].offset <= v.next {
		if v.pending[n].offset == v.next {
			v.take(v.pending[n])
		}
		n++
	}
	if n > 0 {
		v.pending = slices.Delete(v.pending, 0, n)
		v.attempts = 0
	}
	if len(v.pending) == 0 {
		v.pending = nil
	}
}

// forget gives up the window: every reader continues from the store, and the window starts afresh.
func (v *queueView) forget() {
	for _, r := range v.readers {
		if r.live {
			v.part(r)
		}
	}
	for v.len() > 0 {
		v.src.hub.buffered.Add(-v.pop())
	}
	v.begin()
	v.wake()
}

// follow gives up the window if the broker's log was cut since: its offsets are those of other records now.
func (v *queueView) follow(cuts int32) {
	if cuts > v.cuts {
		v.cuts = cuts
		v.shift, v.judged, v.due = 0, 0, 0
		v.forget()
	}
}

// begin resets the view for its first record.
func (v *queueView) begin() {
	v.pending, v.filled, v.known, v.attempts, v.got = nil, nil, false, 0, 0
}

// wake signals the waiting readers that have something to do.
func (v *queueView) wake() {
	for _, r := range v.readers {
		if r.idle && (!r.live || r.seq < v.end()) {
			r.idle = false
			r.owner.ReaderReady(r)
		}
	}
}

// look schedules a read of the store for records that the tail has not brought.
func (v *queueView) look() {
	if v.filling || len(v.readers) == 0 {
		return
	}
	v.filling = true
	v.src.hub.after(gapDelay, v.fill)
}

// fill reads the queue from the end of the window until nothing is missing before the pending records.
func (v *queueView) fill(ctx context.Context) {
	h := v.src.hub
	for {
		v.src.mu.Lock()
		from, awaits := v.next, v.awaits
		v.asked = false
		if len(v.readers) == 0 || !v.known {
			v.filling, v.awaits = false, ""
			v.src.mu.Unlock()
			return
		}
		v.reading = true
		v.src.mu.Unlock()
		batch, err := h.store.Read(ctx, v.ref, from, fetchLimit)
		v.src.mu.Lock()
		v.reading = false
		more := v.merge(from, batch, err)
		if !more {
			if v.awaits == awaits {
				v.awaits = ""
			}
			again := (len(v.pending) > 0 || v.missing() || v.asked) && v.known && ctx.Err() == nil
			v.filling = again
			if again {
				h.after(gapDelay*time.Duration(1+min(v.attempts, gapRetries)), v.fill)
			}
		}
		v.src.mu.Unlock()
		if awaits != "" && err == nil {
			for _, rec := range batch.Records {
				h.share(rec, v)
			}
		}
		if !more {
			return
		}
	}
}

// fillIn appends a record that was read from the store to the window.
func (v *queueView) fillIn(e entry) {
	v.note(e)
	v.take(e)
	v.drain()
}

// note records that a record was read from the store, in case the tail brings it too.
func (v *queueView) note(e entry) {
	if len(v.filled) >= maxPending {
		v.filled = nil
	}
	if v.filled == nil {
		v.filled = make(map[int64]string)
	}
	v.filled[e.offset] = e.rec.ID
}

// merge takes what fill has read, and reports whether to read on at once.
func (v *queueView) merge(from int64, batch store.Batch, err error) bool {
	switch {
	case err != nil || !v.known || len(v.readers) == 0:
		return false
	case batch.Cuts != v.cuts:
		v.follow(batch.Cuts)
		return false
	case v.next != from:
		return len(v.pending) > 0 || v.missing()
	case batch.Next < from: // the queue began again at a lower offset
		v.forget()
		return false
	case len(batch.Records) == 0 && batch.Next == from:
		if len(v.pending) == 0 && !v.missing() {
			return false
		}
		v.attempts++
		if v.missing() {
			if v.attempts >= lagRetries {
				v.due = v.got // the queue does not have it
			}
			return false
		}
		if v.attempts >= gapRetries && batch.Max > from || v.attempts >= lagRetries {
			v.src.hub.metrics.gaps.Inc()
			v.next = v.pending[0].offset
			v.drain()
			v.wake()
		}
		return false
	}
	v.attempts = 0
	if v.learn(batch) {
		return false
	}
	for i, rec := range batch.Records {
		if v.shift > 0 || v.got > 0 {
			v.got = max(v.got, rec.Position.Log)
		}
		if offset := batch.Offsets[i]; offset >= v.next {
			v.fillIn(entry{rec: rec, offset: offset, foreign: !v.src.accepts(rec)})
		}
	}
	v.next = max(v.next, batch.Next)
	v.drain()
	v.wake()
	return true
}
