package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// feed is one reader of the session, with what it takes to commit its progress. Guarded by Session.mu but for queued.
type feed struct {
	s   *Session
	sub *subscription // nil for point-to-point
	// at is how far a queue feed is; others use only at.Closed of it, and have no at.Ref.
	at flight.Progress
	// reader is nil while the client is away. queue and group are the same reader where it reads a queue or a shared group.
	reader delivery.Reader
	queue  *delivery.QueueReader
	group  *delivery.GroupReader
	// since is set where the feed begins at the queue's minimum for want of a better start: older records are left out.
	since time.Time

	records int  // how many the pump takes at a time; 0: it is not known yet
	queued  bool // in Session.turns, whose mutex guards it
	ended   bool // it begins where its queue ended
}

// ReaderReady implements delivery.Owner.
func (f *feed) ReaderReady(delivery.Reader) { f.s.feedReady(f) }

var _ delivery.Owner = (*feed)(nil)

// track notes that a record is on its way as m, or needs no acknowledgement (nil).
func (f *feed) track(item delivery.Item, m *flight.Message) {
	if f.queue != nil && f.at.Track(item.Next, m) {
		f.s.dirty()
	}
}

// settle moves the commit offset over what was handed out and is not for the session, where nothing is on its way. Called after the
// feed's records were delivered, with none held back.
func (f *feed) settle() {
	if f.queue != nil && f.at.Settle() {
		f.s.dirty()
	}
}

// close ends the reader.
func (f *feed) close() {
	if f.reader != nil {
		f.reader.Close()
	}
	f.reader, f.queue, f.group = nil, nil, nil
}

// end closes a feed that is not opened any more.
func (f *feed) end() {
	f.close()
	f.at.Closed = true
}

// tooOld reports whether a record is older than the subscription whose feed brought it. Clocks need to agree to a minute.
func (f *feed) tooOld(rec *store.Record) bool {
	return !f.since.IsZero() && rec.Position.Time > 0 && rec.Position.Time < f.since.Add(-time.Minute).UnixMilli()
}
