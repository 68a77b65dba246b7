package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/store"
)

// feed is one reader of the session, with what it takes to commit its progress. Guarded by Session.mu but for queued.
type feed struct {
	s   *Session
	sub *subscription // nil for point-to-point
	// reader is nil while the client is away. queue is the same reader where it reads a queue.
	reader delivery.Reader
	queue  *delivery.QueueReader
	group  *delivery.GroupReader // the same reader where it reads a shared group
	ref    store.QueueRef        // of queue feeds
	start  int64
	cursor int64 // where to go on when the reader is opened
	placed bool  // start and cursor are known
	// since is set where the feed begins at the queue's minimum for want of a better start: older records are left out.
	since time.Time
	// acked is what can be committed, committed what was.
	acked, committed int64
	tracks           []track
	closed           bool

	queued bool // in Session.ready; guarded by readyMu
}

// track is one record on its way: once it and all before it are acknowledged, next can be committed.
type track struct {
	next int64
	d    *outMessage // nil: nothing to wait for
}

// ReaderReady implements delivery.Owner.
func (f *feed) ReaderReady(delivery.Reader) { f.s.feedReady(f) }

var _ delivery.Owner = (*feed)(nil)

// tracked notes that a record is on its way as d, or needs no acknowledgement (nil).
func (f *feed) tracked(item delivery.Item, d *outMessage) {
	if f.queue == nil {
		return
	}
	if d == nil && len(f.tracks) == 0 {
		f.acked = item.Next
		f.s.dirty(f)
		return
	}
	f.tracks = append(f.tracks, track{next: item.Next, d: d})
	if d != nil {
		d.feeds = append(d.feeds, f)
	}
}

// advance moves the commit offset over what is acknowledged.
func (f *feed) advance() {
	n := 0
	for n < len(f.tracks) && (f.tracks[n].d == nil || f.tracks[n].d.done) {
		f.acked = f.tracks[n].next
		n++
	}
	if n == 0 {
		return
	}
	if n == len(f.tracks) {
		f.tracks = nil
	} else {
		clear(f.tracks[:n])
		f.tracks = f.tracks[n:]
	}
	f.s.dirty(f)
}

// dirty notes that a feed's progress is to be committed.
func (s *Session) dirty(f *feed) {
	if f.acked != f.committed {
		s.m.commits.add(s)
	}
}

// settled moves the commit offset over what was handed out and is not for the session, where nothing is on its way. Called
// after the feed's records were delivered, with none held back.
func (f *feed) settled() {
	if f.queue != nil && len(f.tracks) == 0 && f.acked != f.cursor {
		f.acked = f.cursor
		f.s.dirty(f)
	}
}

// uncommitted returns the offsets that are to be committed, and what to call once they are. Feeds that share a queue ("T/a" and
// "T/a/") commit the lower of their offsets, so that neither loses what the other has passed. Called with mu held.
func (s *Session) uncommitted() ([]store.Offset, func()) {
	low := make(map[store.QueueRef]int64)
	s.eachFeed(func(f *feed) {
		if f.ref.Queue == "" || !f.placed {
			return
		}
		if n, ok := low[f.ref]; !ok || f.acked < n {
			low[f.ref] = f.acked
		}
	})
	var offsets []store.Offset
	var feeds []*feed
	s.eachFeed(func(f *feed) {
		if f.ref.Queue != "" && f.placed && f.committed != low[f.ref] {
			offsets = append(offsets, store.Offset{QueueRef: f.ref, Next: low[f.ref]})
			feeds = append(feeds, f)
		}
	})
	if len(offsets) == 0 {
		return nil, nil
	}
	return offsets, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, f := range feeds {
			f.committed = offsets[i].Next
		}
	}
}

// tooOld reports whether a record is older than the subscription whose feed brought it. Clocks need to agree to a minute.
func (f *feed) tooOld(rec *store.Record) bool {
	return !f.since.IsZero() && rec.Position.Time > 0 && rec.Position.Time < f.since.Add(-time.Minute).UnixMilli()
}
