package session

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// pumpBatch is how many records the pump takes from a feed at a time, so that feeds take turns.
const pumpBatch = 32

// pump sends what the feeds have, until they have no more or the client takes no more. One pump runs at a time.
func (s *Session) pump() {
	buf := make([]delivery.Item, 0, pumpBatch)
	for {
		s.readyMu.Lock()
		s.again = false
		s.readyMu.Unlock()
		for s.step(&buf) {
		}
		s.readyMu.Lock()
		if !s.again {
			s.running = false
			s.readyMu.Unlock()
			return
		}
		s.readyMu.Unlock()
	}
}

// flush has written what a step sent. Called with mu held.
func (s *Session) flush() {
	if s.conn != nil {
		s.conn.Flush()
	}
}

// blocked reports whether nothing can be sent now. Called with mu held.
func (s *Session) blocked() bool {
	return s.conn == nil || !s.started || s.full || s.noting
}

// windowFull reports whether no QoS 1 or 2 message can be sent now. Called with mu held.
func (s *Session) windowFull() bool { return len(s.out.byID) >= s.window }

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
	f := s.nextFeed()
	if f == nil {
		return false
	}
	if f.closed || f.reader == nil || f.sub != nil && f.sub.retains.waits() {
		return true // in the last case it is told again with SUBACK
	}
	items, state := f.reader.Next(s.room(f), (*buf)[:0])
	if state == delivery.Behind && len(items) == 0 {
		var ok bool
		if items, ok = s.fetch(f, *buf); !ok {
			return s.conn != nil
		}
	}
	if f.queue != nil {
		// The reader belongs to the pump, also while it reads the store without mu; the cursor is what others may look at.
		f.cursor = f.queue.Offset()
	}
	*buf = items
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
		f.settled()
	}
	if state != delivery.Idle {
		s.feedReady(f)
	}
	return !s.blocked()
}

// fetch reads a feed that is behind from the store, without mu. It returns false when the connection is another one now, or
// when the read failed and will be tried again.
func (s *Session) fetch(f *feed, buf []delivery.Item) ([]delivery.Item, bool) {
	generation, reader := s.generation, f.reader
	s.flush() // reading may take a while
	s.mu.Unlock()
	items, err := s.m.fetch(reader, buf[:0])
	s.mu.Lock()
	if s.generation != generation || f.closed {
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
		time.AfterFunc(retryDelay, func() { s.feedReady(f) })
	}
	return nil, false
}

const retryDelay = 500 * time.Millisecond

// tooFarBehind handles a subscription without a queue whose backlog is over the bound: QoS 0 is dropped and counted, anything
// else ends the connection, so that nobody mistakes the gap for silence.
func (s *Session) tooFarBehind(f *feed) {
	if f.sub != nil && f.sub.qos > 0 {
		s.m.log.Warn("client is too slow for its subscription; closing its connection", "client", s.id, "filter", f.sub.filter)
		s.conn.Close(packet.QuotaExceeded, "too far behind; use a persistent session or subscribe to less")
		return
	}
	s.m.metrics.dropped.Add(float64(f.reader.Skip()))
	s.feedReady(f)
}

// sendHeld sends what was taken from feeds earlier; it reports whether all of it is sent. Called with mu held.
func (s *Session) sendHeld() bool {
	for i, h := range s.held {
		if h.f.closed {
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

// deliver sends one record, unless the client has it already, may not have it, or no longer wants it. It returns false when
// the window is full; the record is then offered again. Called with mu held.
func (s *Session) deliver(f *feed, item delivery.Item) bool {
	if item.Lease != nil {
		return s.deliverShared(f, item)
	}
	rec := item.Record
	if item.Early {
		s.early(f, rec)
		return true
	}
	if d := s.out.byRecord[rec.ID]; d != nil {
		f.tracked(item, d)
		return true
	}
	var w want
	if f.sub == nil {
		w = want{n: 1, qos: rec.QoS}
	} else {
		w = s.wanted(rec)
	}
	switch {
	case s.hasFinished(f, rec, item.Next):
	case w.n == 0, expired(&rec.Message), f.tooOld(rec):
	case w.n > 1 && s.has(f, rec):
	default:
		qos := min(rec.QoS, w.qos)
		if qos > 0 && s.windowFull() {
			return false
		}
		if w.n > 1 && !s.durable() {
			s.seen.expect(rec.ID, w.feeds-1)
		}
		f.tracked(item, s.dispatch(&rec.Message, qos, w.retain && rec.Retain, w.ids, rec.ID))
		return true
	}
	f.tracked(item, nil)
	return true
}

// want is what the session's subscriptions together want of a record.
type want struct {
	n      int // subscriptions that match
	feeds  int // their tail feeds
	qos    byte
	retain bool // retain as published
	ids    []uint32
}

// wanted merges the subscriptions that match a record: the highest QoS, and every subscription identifier.
func (s *Session) wanted(rec *store.Record) want {
	var w want
	s.matching(rec.Topic, func(sub *subscription) {
		if sub.options.NoLocal && rec.Publisher == s.id && s.id != "" {
			return
		}
		w.n++
		w.qos = max(w.qos, sub.qos)
		w.retain = w.retain || sub.options.RetainAsPublished
		if sub.id != 0 {
			w.ids = append(w.ids, sub.id)
		}
		for _, f := range sub.feeds {
			if f.queue == nil {
				w.feeds++
			}
		}
	})
	return w
}

// has reports whether another feed of the session has delivered a record, or will. It is asked where several subscriptions
// match.
func (s *Session) has(f *feed, rec *store.Record) bool {
	if !s.durable() {
		return s.seen.again(rec.ID)
	}
	found := false
	s.matching(rec.Topic, func(sub *subscription) {
		for _, other := range sub.feeds {
			if other == f || other.queue == nil {
				continue
			}
			// A feed of the tail leaves a record that is in any of the queues to that queue.
			if other.queue.Passed(rec) || f.queue == nil && other.queue.Covers(rec) {
				found = true
			}
		}
	})
	if !found && f.queue == nil {
		if s.seen.again(rec.ID) {
			return true
		}
		n := 0
		s.matching(rec.Topic, func(sub *subscription) {
			for _, other := range sub.feeds {
				if other.queue == nil {
					n++
				}
			}
		})
		s.seen.expect(rec.ID, n-1)
	}
	return found
}

// dispatch sends a message. It returns nil where no acknowledgement is to come. Called with mu held, with room in the window
// for qos > 0.
func (s *Session) dispatch(m *store.Message, qos byte, retain bool, ids []uint32, recordID string) *outMessage {
	s.delivered.Add(1)
	s.m.metrics.sent[qos].Inc()
	if qos == 0 {
		s.send(m, 0, retain, false, 0, ids)
		return nil
	}
	d := &outMessage{qos: qos, retain: retain, m: m, subIDs: ids, recordID: recordID}
	known := true // by the journal, as far as it must be
	if qos == 2 && s.durable() {
		known = s.choosePacketID(d)
	}
	s.out.add(d)
	if !known {
		s.noting = d.assigned // what comes behind it must not overtake it
		s.sendNoted(d)
		return d
	}
	if s.send(m, qos, retain, false, d.id, ids) == TooLarge {
		// [MQTT-3.1.2-25]: as if it had been sent.
		d.done = true
		s.out.remove(d)
		return nil
	}
	return d
}

// send puts one PUBLISH into the connection's buffer. Called with mu held and a connection.
func (s *Session) send(m *store.Message, qos byte, retain, dup bool, id uint16, ids []uint32) SendResult {
	p := packet.Publish{Dup: dup, QoS: qos, Retain: retain, Topic: m.Topic, PacketID: id, Payload: m.Payload}
	if s.version == packet.V5 && (m.Properties != nil || !m.Expires.IsZero() || len(ids) > 0) {
		p.Properties = publishProperties(m, ids)
	}
	res := s.conn.SendPublish(&p)
	if res == SentFull {
		s.full = true
	}
	return res
}

// publishProperties makes the properties that travel with a message (MQTT 5, 3.3.2.3).
func publishProperties(m *store.Message, ids []uint32) *packet.Properties {
	out := &packet.Properties{SubscriptionIdentifiers: ids}
	if !m.Expires.IsZero() {
		left := secondsUntil(m.Expires) // [MQTT-3.3.2-6]: what is left of it
		out.MessageExpiryInterval = &left
	}
	p := m.Properties
	if p == nil {
		return out
	}
	if p.HasFormat {
		out.PayloadFormat = &p.PayloadFormat
	}
	if p.ContentType != "" || p.EmptyType {
		out.ContentType = &p.ContentType
	}
	if p.ResponseTopic != "" {
		out.ResponseTopic = &p.ResponseTopic
	}
	out.CorrelationData = p.CorrelationData
	for _, u := range p.User {
		out.User = append(out.User, packet.UserProperty{Key: u.Key, Value: u.Value})
	}
	return out
}

// secondsUntil is how many seconds are left, begun ones included, as far as an interval of MQTT can say.
func secondsUntil(at time.Time) uint32 {
	left := max(time.Until(at), 0)
	seconds := int64(left / time.Second)
	if left%time.Second > 0 {
		seconds++
	}
	return uint32(min(seconds, math.MaxUint32))
}

func expired(m *store.Message) bool {
	return m != nil && !m.Expires.IsZero() && !time.Now().Before(m.Expires)
}
