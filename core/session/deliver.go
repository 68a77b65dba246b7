package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// deliver handles one record of a feed. It sends the record unless the client already has it, may not have it, or no longer wants it. In
// any case the feed's progress waits for the messages in flight. deliver returns false if the client takes no more; the record is then
// offered again. Called with mu held.
func (s *Session) deliver(f *feed, item delivery.Item) bool {
	if item.Lease != nil {
		return s.deliverShared(f, item)
	}
	rec := item.Record
	if item.Early {
		s.early(f, rec)
		return true
	}
	m := s.out.OfRecord(rec.ID)
	if m == nil {
		w := s.wanted(f, rec)
		if w.qos > 0 && s.windowFull() {
			return false // nothing about the record has been remembered yet
		}
		if w.any && !s.takes(&rec.Message, w.qos, f.queue != nil) {
			return false
		}
		if s.due(f, item, w) {
			if rec.Retain {
				s.sentValue(rec.Topic, rec.Position)
			}
			m = s.dispatch(&rec.Message, w.qos, w.retain, w.ids, origin{recordID: rec.ID, queue: f.queue != nil})
		}
	}
	f.track(item, m)
	return true
}

// want is what the session's subscriptions, taken together, want of a record.
type want struct {
	by     []*subscription // the matching subscriptions; valid until the next record
	any    bool            // at least one of them takes the record
	qos    byte
	retain bool
	ids    []uint32
}

// wanted merges the subscriptions that match a record: it takes the highest QoS and every subscription identifier.
func (s *Session) wanted(f *feed, rec *store.Record) want {
	if f.sub == nil {
		return want{any: true, qos: rec.QoS}
	}
	w := want{by: s.matching(rec.Topic, f.sub)}
	for _, sub := range w.by {
		if sub.options.NoLocal && rec.Publisher == s.id && s.id != "" {
			continue
		}
		w.any = true
		w.qos = max(w.qos, sub.qos)
		w.retain = w.retain || sub.options.RetainAsPublished
		if sub.id != 0 {
			w.ids = append(w.ids, sub.id)
		}
	}
	w.qos, w.retain = min(w.qos, rec.QoS), w.retain && rec.Retain
	return w
}

// due reports whether to send a wanted record. If other feeds will bring the record too, due remembers it.
func (s *Session) due(f *feed, item delivery.Item, w want) bool {
	rec := item.Record
	var queue *flight.Progress
	if f.queue != nil {
		queue = &f.at
	}
	if s.journal.Has(rec.ID, queue, item.Next) || !w.any || expired(&rec.Message) || f.tooOld(rec) {
		return false
	}
	return len(w.by) < 2 || !s.has(f, rec, w.by)
}

// has reports whether another feed of the session has delivered, or will deliver, a record. by holds the matching subscriptions, of which
// there are several.
func (s *Session) has(f *feed, rec *store.Record, by []*subscription) bool {
	tails := 0
	for _, sub := range by {
		for _, other := range sub.feeds {
			switch {
			case other.queue == nil:
				tails++
			case other == f:
			// A feed of the tail leaves a record to any queue that has it.
			case other.queue.Passed(rec), f.queue == nil && other.queue.Covers(rec):
				return true
			}
		}
	}
	if f.queue != nil {
		return false
	}
	if s.seen.Again(rec.ID) {
		return true
	}
	s.seen.Expect(rec.ID, tails-1)
	return false
}

// origin says where a message comes from: the record's id, and whether a queue has the record, so that it can be read again.
type origin struct {
	recordID string
	queue    bool
	retained bool // a retained message of a new subscription
}

// dispatch sends a message. It returns nil if no acknowledgement is due. Called with mu held, and for qos > 0 with room in the window.
func (s *Session) dispatch(m *store.Message, qos byte, retain bool, ids []uint32, from origin) *flight.Message {
	if s.delivered.Add(1)%deliverySample == 1 && !m.Created.IsZero() {
		s.m.metrics.delivery.Observe(time.Since(m.Created).Seconds())
	}
	s.m.metrics.sent[qos].Inc()
	if qos == 0 {
		s.send(m, 0, retain, false, 0, ids, s.delivers(m, 0, !from.retained))
		return nil
	}
	d := &flight.Message{QoS: qos, Retain: retain, Content: m, SubscriptionIDs: ids, RecordID: from.recordID}
	known := true // true: the message need not wait for the journal
	if qos == 2 && s.durable() {
		known = s.journal.ChoosePacketID(d, &s.out)
	}
	s.out.Add(d)
	defer s.keep(d, from.queue)
	switch {
	case !known:
		s.sendNoted(d)
	case s.send(m, qos, retain, false, d.ID, ids, s.delivers(m, qos, !from.retained)) == TooLarge:
		s.out.Remove(d) // [MQTT-3.1.2-25]: behave as if it had been sent
		return nil
	}
	return d
}

// deliverySample: the delivery time is measured for one delivery in this many.
const deliverySample = 16

// send puts one PUBLISH into the connection's buffer, and ends its span. Called with mu held and while there is a connection.
func (s *Session) send(m *store.Message, qos byte, retain, dup bool, id uint16, ids []uint32, span *tracing.Span) SendResult {
	p := packet.Publish{Dup: dup, QoS: qos, Retain: retain, Topic: m.Topic, PacketID: id, Payload: m.Payload}
	if s.version == packet.V5 && (m.Properties != nil || !m.Expires.IsZero() || len(ids) > 0) {
		p.Properties = publishProperties(m, ids)
		if span != nil {
			p.Properties.User = tracing.With(p.Properties.User, span.Parent())
		}
	}
	res := s.conn.SendPublish(&p)
	if span != nil {
		delivered(span, res)
	}
	if res == SentFull {
		s.full = true
	}
	return res
}

func expired(m *store.Message) bool {
	return m != nil && !m.Expires.IsZero() && !time.Now().Before(m.Expires)
}
