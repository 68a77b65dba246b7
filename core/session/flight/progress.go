package flight

import "github.com/lmqgate/lmqgate/core/store"

// Progress is how far a session has got in one queue on one broker.
type Progress struct {
	Ref store.QueueRef
	// Start is the first offset that belongs to the subscription.
	Start int64
	// Cursor is where to go on when the queue is read again.
	Cursor int64
	// Placed: Start and Cursor are known.
	Placed bool
	// Closed: nobody commits it any more.
	Closed bool

	// acked is what can be committed, committed what was; -1: nothing.
	acked, committed int64
	tracks           []track
}

// track is one record on its way: once it and all before it are acknowledged, next can be committed.
type track struct {
	next int64
	m    *Message // nil: nothing to wait for
}

// Unplaced is the progress of a new subscription that has no place yet.
func Unplaced(queue store.QueueRef) Progress { return Progress{Ref: queue, committed: -1} }

// Recorded is the progress of a recorded subscription whose commit offset is still to be asked for.
func Recorded(queue store.QueueRef, start int64) Progress {
	return Progress{Ref: queue, Start: start, Cursor: start, acked: start, committed: start}
}

// Begin sets where a new subscription begins. Its start is to be committed.
func (p *Progress) Begin(at int64) {
	p.Start, p.Cursor, p.acked, p.committed, p.Placed = at, at, at, -1, true
}

// Resume sets the commit offset that was found.
func (p *Progress) Resume(next int64) {
	p.Cursor, p.acked, p.committed, p.Placed = next, next, next, true
}

// Track notes that the record before next is on its way as m, or that nothing is to be waited for (nil). It reports whether there
// may be something to commit.
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

// advance moves the commit offset over what is over.
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

// Settle moves the commit offset to the cursor where nothing is on its way: what was read and is not tracked is not for the
// session. It reports whether there may be something to commit.
func (p *Progress) Settle() (moved bool) {
	if len(p.tracks) > 0 || p.acked == p.Cursor {
		return false
	}
	p.acked = p.Cursor
	return p.acked != p.committed
}

// Back moves the cursor back to a record that was read and not sent.
func (p *Progress) Back(offset int64) { p.Cursor = min(p.Cursor, offset) }

// GiveUp forgets what is on its way: the queue is read again from the commit offset.
func (p *Progress) GiveUp() {
	if len(p.tracks) > 0 {
		p.Cursor, p.tracks = p.acked, nil
	}
}

// Commit is a commit offset that is to be written.
type Commit struct {
	*Progress
	Next int64
}

// Done notes that the offset was written.
func (c Commit) Done() { c.committed = c.Next }

// Commits returns the offsets that are to be written. Subscriptions that share a queue ("T/a" and "T/a/") commit the lower of
// their offsets, so that neither loses what the other has passed.
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

// Mark is a place in a queue that its commit offset has still to pass.
type Mark struct {
	*Progress
	Next int64
}

// Passed reports whether the queue is committed past the mark, or does not matter any more.
func (m Mark) Passed() bool { return m.Closed || m.committed >= m.Next }

// Marks returns where the queues that brought a message have it.
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
