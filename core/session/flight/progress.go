package flight

import "github.com/lmqgate/lmqgate/core/store"

// Progress is how far a session has got in one queue on one broker.
type Progress struct {
	Ref store.QueueRef
	// Start is the first offset that belongs to the subscription.
	Start int64
	// Cursor is where the next read of the queue starts.
	Cursor int64
	// Placed: Start and Cursor are known.
	Placed bool
	// Closed: the progress is no longer committed.
	Closed bool

	// acked is the offset that may be committed, committed the one that was; -1: none.
	acked, committed int64
	tracks           []track
}

// track is one record in flight. Once it and all records before it are acknowledged, next may be committed.
type track struct {
	next int64
	m    *Message // nil: nothing to wait for
}

// Unplaced returns the progress of a new subscription that has no place in the queue yet.
func Unplaced(queue store.QueueRef) Progress { return Progress{Ref: queue, committed: -1} }

// Recorded returns the progress of a recorded subscription whose commit offset is not known yet.
func Recorded(queue store.QueueRef, start int64) Progress {
	return Progress{Ref: queue, Start: start, Cursor: start, acked: start, committed: start}
}

// Begin sets where a new subscription begins. The start has still to be committed.
func (p *Progress) Begin(at int64) {
	p.Start, p.Cursor, p.acked, p.committed, p.Placed = at, at, at, -1, true
}

// Resume sets the commit offset that the store returned.
func (p *Progress) Resume(next int64) {
	p.Cursor, p.acked, p.committed, p.Placed = next, next, next, true
}

// Ahead sets an offset up to which the session has got, past the commit offset that the store returned.
func (p *Progress) Ahead(at int64) { p.Cursor, p.acked, p.Placed = at, at, true }

// Track records that the record before next is in flight as m, or needs no acknowledgement (nil). It reports whether there may be something
// to commit.
func (p *Progress) Track(next int64, m *Message) (moved bool) {
	if m == nil && len(p.tracks) == 0 {
		p.acked = next
		return p.acked != p.committed
	}
	p.tracks = append(p.tracks, track{next, m})
	if m != nil {
		m.progress = append(m.progress, p)
	}
	return false
}

// advance moves the commit offset over finished records.
func (p *Progress) advance() (moved bool) {
	n := 0
	for n < len(p.tracks) && (p.tracks[n].m == nil || p.tracks[n].m.Done) {
		p.acked = p.tracks[n].next
		n++
	}
	switch n {
	case 0:
		return false
	case len(p.tracks):
		p.tracks = nil
	default:
		clear(p.tracks[:n])
		p.tracks = p.tracks[n:]
	}
	return p.acked != p.committed
}

// Settle moves the commit offset to the cursor if nothing is in flight: records that were read but not tracked are not for the session. It
// reports whether there may be something to commit.
func (p *Progress) Settle() (moved bool) {
	if len(p.tracks) > 0 || p.acked == p.Cursor {
		return false
	}
	p.acked = p.Cursor
	return p.acked != p.committed
}

// Cut moves the progress back to an offset: others have taken the places of the records from there on, and the session has none of them.
// What is in flight stays so, and holds up nothing.
func (p *Progress) Cut(at int64) {
	p.Start, p.Cursor = min(p.Start, at), min(p.Cursor, at)
	if p.committed > at {
		p.committed = -1
	}
	p.acked = min(p.acked, at)
	for i := range p.tracks {
		p.tracks[i].next = min(p.tracks[i].next, at)
	}
}

// Back moves the cursor back to a record that was read but not sent.
func (p *Progress) Back(offset int64) { p.Cursor = min(p.Cursor, offset) }

// GiveUp forgets the records in flight: the queue is read again from the commit offset.
func (p *Progress) GiveUp() {
	if len(p.tracks) > 0 {
		p.Cursor, p.tracks = p.acked, nil
	}
}

// Commit is a commit offset to be written.
type Commit struct {
	*Progress
	Next int64
}

// Done records that the offset was written.
func (c Commit) Done() { c.committed = c.Next }

// Commits returns the offsets to be written. Subscriptions that share a queue ("T/a" and "T/a/") commit the lower of their offsets, so that
// no subscription loses records that only the other has passed.
func Commits(all []*Progress) []Commit {
	low := make(map[store.QueueRef]int64, len(all))
	for _, p := range all {
		if !p.Placed {
			continue
		}
		if n, ok := low[p.Ref]; !ok || p.acked < n {
			low[p.Ref] = p.acked
		}
	}
	var out []Commit
	for _, p := range all {
		if next := low[p.Ref]; p.Placed && p.committed != next {
			out = append(out, Commit{p, next})
		}
	}
	return out
}

// Behind returns the progress that is behind that of another subscription to the same queue with nothing in flight, each with the offset of
// the other. What lies between may be for the other subscription alone.
func Behind(all []*Progress) []Commit {
	high := make(map[store.QueueRef]int64)
	for _, p := range all {
		if p.Placed && !p.Closed {
			high[p.Ref] = max(high[p.Ref], p.acked)
		}
	}
	var out []Commit
	for _, p := range all {
		if to := high[p.Ref]; p.Placed && !p.Closed && len(p.tracks) == 0 && p.acked < to {
			out = append(out, Commit{p, to})
		}
	}
	return out
}

// Acked returns the offset that may be committed.
func (p *Progress) Acked() int64 { return p.acked }

// Skip moves the commit offset over records that are not for the session, if nothing is in flight.
func (p *Progress) Skip(to int64) {
	if len(p.tracks) == 0 && p.acked < to {
		p.acked, p.Cursor = to, max(p.Cursor, to)
	}
}

// Agree reports whether the subscriptions that share a queue have got equally far, so that the offset which they commit holds for each.
func Agree(all []*Progress) bool {
	at := make(map[store.QueueRef]int64)
	for _, p := range all {
		if other, ok := at[p.Ref]; ok && p.Placed && other != p.acked {
			return false
		}
		if p.Placed {
			at[p.Ref] = p.acked
		}
	}
	return true
}

// Mark is a place in a queue that the commit offset has not passed yet.
type Mark struct {
	*Progress
	Next int64
}

// Passed reports whether the queue is committed past the mark, or no longer matters.
func (m Mark) Passed() bool { return m.Closed || m.committed >= m.Next }

// Marks returns the message's place in each queue that brought it.
func (m *Message) Marks() []Mark {
	var out []Mark
	for _, p := range m.progress {
		for _, t := range p.tracks {
			if t.m == m {
				out = append(out, Mark{p, t.next})
			}
		}
	}
	return out
}
