package session

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/packet"
)

const (
	// pumpBatch is how many records at most the pump takes from a feed at a time, so that feeds take turns.
	pumpBatch = 32
	// firstBatch is how many records the pump takes while it does not know their size. batchBytes is the approximate total size of later
	// batches: records that the client then does not take are held in memory.
	firstBatch = 4
	batchBytes = 256 << 10
)

// batch returns how many records the pump takes from the feed next.
func (f *feed) batch() int {
	if f.records == 0 {
		return firstBatch
	}
	return f.records
}

// learn adapts the size of the next batch to the size of the records just taken.
func (f *feed) learn(items []delivery.Item) {
	if len(items) == 0 {
		return
	}
	bytes := 0
	for i := range items {
		bytes += items[i].Record.Size()
	}
	f.records = min(pumpBatch, 2*f.batch(), max(1, len(items)*batchBytes/max(bytes, 1)))
}

// pump sends records from the feeds until the feeds have no more or the client takes no more. One pump of a session runs at a time.
func (s *Session) pump() {
	buf := make([]delivery.Item, 0, pumpBatch)
	for {
		s.turns.look()
		for s.step(&buf) {
		}
		if s.turns.rest() {
			return
		}
	}
}

// flush writes what a step has put into the connection's buffer. Called with mu held.
func (s *Session) flush() {
	if s.conn != nil {
		s.conn.Flush()
	}
}

// blocked reports whether nothing at all can be sent now. Called with mu held.
func (s *Session) blocked() bool {
	return s.conn == nil || !s.started || s.full || s.leaving || s.noting || s.Held()
}

// windowFull reports whether no QoS 1 or 2 message can be sent now. Called with mu held.
func (s *Session) windowFull() bool { return s.out.Len() >= s.window }

// step does one piece of work and reports whether there may be more.
func (s *Session) step(buf *[]delivery.Item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.flush()
	if s.blocked() || !s.sendAgain() || s.windowFull() {
		return false
	}
	if !s.sendHeld() || !s.sendRetained() {
		return false
	}
	f := s.turns.next()
	if f == nil {
		return false
	}
	if f.at.Closed || f.reader == nil || f.sub != nil && f.sub.retains.waits() {
		return true // a feed that waits for SUBACK is signalled again after it
	}
	if s.settles(f) {
		return true
	}
	items, state := f.reader.Next(s.room(f), (*buf)[:0])
	if state == delivery.Behind && len(items) == 0 {
		var ok bool
		if items, ok = s.fetch(f, *buf); !ok {
			return s.conn != nil
		}
	}
	if f.queue != nil {
		// The reader belongs to the pump, even while the pump reads the store without mu. Others look at the cursor.
		if f.queue.Cuts() != f.cuts {
			f.goBack()
		}
		f.at.Cursor = f.queue.Offset()
	}
	*buf = items
	f.learn(items)
	for i, item := range items {
		if s.blocked() || !s.deliver(f, item) {
			if f.group != nil {
				handBack(items[i:])
				break
			}
			for _, rest := range items[i:] {
				s.held = append(s.held, heldItem{f, rest})
			}
			break
		}
	}
	clear(items)
	if len(s.held) == 0 {
		f.settle()
	}
	if state != delivery.Idle {
		s.feedReady(f)
	}
	return !s.blocked()
}

// fetch reads a feed that is behind from the store. It releases mu during the read. It returns false if the connection has changed, or if
// the read failed and will be retried.
func (s *Session) fetch(f *feed, buf []delivery.Item) ([]delivery.Item, bool) {
	generation, reader := s.generation, f.reader
	s.flush() // the read may take a while
	s.mu.Unlock()
	items, err := s.m.fetch(reader, f.batch(), buf[:0])
	s.mu.Lock()
	if s.generation != generation || f.at.Closed {
		return nil, false
	}
	switch {
	case err == nil:
		return items, true
	case errors.Is(err, delivery.ErrTooFarBehind):
		s.tooFarBehind(f)
	case errors.Is(err, context.Canceled):
	default:
		s.m.log.Warn("reading a queue failed; trying again", "client", s.id, "filter", reader.Filter(), "error", err)
		s.readAgain(f)
	}
	return nil, false
}

// tooFarBehind handles a subscription without a queue whose backlog exceeds the bound. At QoS 0, records are dropped and counted. Otherwise
// it ends the connection, so that nobody mistakes the gap for silence.
func (s *Session) tooFarBehind(f *feed) {
	if f.sub != nil && f.sub.qos > 0 {
		s.m.log.Warn("client is too slow for its subscription; closing its connection", "client", s.id, "filter", f.sub.filter)
		s.conn.Close(packet.QuotaExceeded, "too far behind; use a persistent session or subscribe to less")
		return
	}
	skipped := f.reader.Skip()
	s.m.metrics.dropped.Add(float64(skipped))
	s.m.o.Events.Add(events.Event{Kind: events.MessageDropped, ClientID: s.id, Reason: "client too slow", Messages: skipped})
	s.feedReady(f)
}

// sendHeld sends records that were taken from feeds earlier. It reports whether all of them are sent. Called with mu held.
func (s *Session) sendHeld() bool {
	for i, h := range s.held {
		if h.f.at.Closed {
			continue
		}
		if s.blocked() || !s.deliver(h.f, h.item) {
			s.held = append(s.held[:0], s.held[i:]...)
			return false
		}
	}
	s.held = nil
	return true
}
