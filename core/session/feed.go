package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// feed is one reader of the session, with its progress. Session.mu guards it, except for queued.
type feed struct {
	s   *Session
	sub *subscription // nil for point-to-point
	// at is the progress of a queue feed. Other feeds use only at.Closed, and their at.Ref is empty.
	at flight.Progress
	// cuts is after how many cuts of the broker's log the offsets of at are valid.
	cuts int32
	// reader is nil while the client is away. queue or group is the same reader if it reads a queue or a shared group.
	reader delivery.Reader
	queue  *delivery.QueueReader
	group  *delivery.GroupReader
	// since is set if the feed begins at the queue's minimum because no better start was known. Records older than it are skipped.
	since time.Time

	records int  // how many the pump takes at a time; 0: not known yet
	queued  bool // in Session.turns, whose mutex guards it
	ended   bool // the feed begins where its queue ended
}

// ReaderReady implements delivery.Owner.
func (f *feed) ReaderReady(delivery.Reader) { f.s.feedReady(f) }

var _ delivery.Owner = (*feed)(nil)

// track notes that a record is in flight as m, or needs no acknowledgement (nil).
func (f *feed) track(item delivery.Item, m *flight.Message) {
	if f.queue != nil && f.at.Track(item.Next, m) {
		f.s.dirty()
	}
}

// settle moves the commit offset over records that were read but are not for the session, if nothing is in flight. Called after the feed's
// records were delivered, with none held back.
func (f *feed) settle() {
	if f.queue != nil && f.at.Settle() {
		f.s.dirty()
	}
}

// goBack takes over where the reader has gone on after the broker's log was cut: it may have moved back, with nothing handed out since.
// Called with the session's mutex held, and with nothing held back.
func (f *feed) goBack() {
	f.cuts = f.queue.Cuts()
	if at := f.queue.Offset(); at < f.at.Cursor {
		f.cut(at)
		f.s.dirty()
	}
}

// cut moves the feed's progress back to an offset.
func (f *feed) cut(at int64) {
	f.at.Cut(at)
	if f.sub == nil {
		return
	}
	if key := startKey(f.sub.filter, f.at.Ref); f.sub.starts[key] > at {
		f.sub.starts[key] = at
	}
}

// close ends the reader.
func (f *feed) close() {
	if f.reader != nil {
		f.reader.Close()
	}
	f.reader, f.queue, f.group = nil, nil, nil
}

// end closes a feed that is never opened again.
func (f *feed) end() {
	f.close()
	f.at.Closed = true
}

// tooOld reports whether a record is older than the subscription whose feed brought it. It allows clocks to differ by one minute.
func (f *feed) tooOld(rec *store.Record) bool {
	return !f.since.IsZero() && rec.Position.Time > 0 && rec.Position.Time < f.since.Add(-time.Minute).UnixMilli()
}
