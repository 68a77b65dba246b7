package session

import (
	"context"
	"time"
	"weak"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Retained messages and SUBSCRIBE. The tail feed of a subscription has a definite start, so exactly one of these brings each record:
//
//   - the lookup at SUBSCRIBE (lookUp), if the record was routed before the start;
//   - the feed, if the record was routed after the start: the feed brings it live or, if the record lies before the subscription
//     nevertheless (Item.Early), as something to send as retained (early);
//   - the metadata, if no tail of this node brought the record and the metadata shows it later (Manager.retainedShown).
//
// Values to be sent as retained wait in line. A value is sent only while it is still the newest of its topic. A newer value comes by one of
// the three ways itself, and a record is the newest of its topic before a tail feeds it to anybody. A queue can be read ahead of the tail,
// so a value is not sent either if the session has sent a newer one of its topic (sentValues). So no value is sent behind a newer one.
//
// A value that a feed brings early is also sent if the session has sent an older value of its topic and no newer one, live or as retained,
// whichever way it came: otherwise there would be a gap before the live messages.

// retainedLine is the values that one subscription is to be sent as retained. Guarded by Session.mu.
type retainedLine struct {
	sub *subscription // nil: point to point
	qos byte          // granted
	id  uint32
	// after is closed once SUBACK is in the connection's buffer; nil: no need to wait.
	after <-chan struct{}
	// behind is what other feeds of the session had in line before: those live messages go first.
	behind []backlog
	values []waitingValue
	memory *Memory // of the values; nil: they are few
	// early: a feed has brought the value in its place among the live messages.
	early bool
}

// waitingValue is a value in line. A value that the metadata shows is not kept in memory by the line: once a newer one has replaced it, it
// is not sent, and a client that does not read must not keep the values of the past.
type waitingValue struct {
	shown weak.Pointer[meta.Retained]
	kept  *meta.Retained // a value that the metadata does not show, or not yet
}

// waits makes the entry of a value.
func waits(v *meta.Retained) waitingValue {
	if v.Shown() {
		return waitingValue{shown: weak.Make(v)}
	}
	return waitingValue{kept: v}
}

// get returns the value; nil if it was replaced or removed.
func (w waitingValue) get() *meta.Retained {
	if w.kept != nil {
		return w.kept
	}
	return w.shown.Value()
}

const (
	// waitingBytes is the memory of a value in line, in bytes; uncountedValues is the number of values up to which a line is not counted.
	waitingBytes    = 16
	uncountedValues = 16
)

// backlog is what a feed has to hand out up to a mark.
type backlog struct {
	f    *feed
	mark int64
}

// retains is the retained-message state of a subscription.
type retains struct {
	// wanted: the client asked for retained messages (MQTT 5, 3.8.3.1), and the lookup is done. Values that the metadata shows with a
	// version later than asOf were not part of the lookup.
	wanted bool
	asOf   uint64
	// suback is closed once SUBACK is in the connection's buffer. Until then the feeds of a new subscription wait.
	suback <-chan struct{}
	// settling is set while the tail still has to bring what was stored before the subscription's queues began. Until it is nil, the queues
	// wait. settled is set once they have begun to wait.
	settling *settling
	settled  bool
}

func (r *retains) waits() bool { return open(r.suback) }

func open(c <-chan struct{}) bool {
	if c == nil {
		return false
	}
	select {
	case <-c:
		return false
	default:
		return true
	}
}

// lookUp puts the retained messages of granted subscriptions in line. The caller calls the returned function once SUBACK is in the
// connection's buffer.
func (s *Session) lookUp(list []Subscription, codes []packet.Code, fresh []bool, suback chan struct{}) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var subs []*subscription
	var older []backlog
	looked := false
	var settles settlers
	for i, in := range list {
		sub := s.subs[in.Filter]
		if codes[i] >= packet.UnspecifiedError || sub == nil || sub.shared() {
			continue
		}
		subs = append(subs, sub)
		if in.RetainHandling == 2 || in.RetainHandling == 1 && !fresh[i] {
			continue
		}
		found, version := s.m.o.Meta.Retained(in.Filter)
		sub.retains.wanted, sub.retains.asOf = true, version
		s.sent.begin() // also for values that only the tail brings
		if len(found) == 0 {
			continue
		}
		start, ok := sub.start(fresh[i])
		if !ok {
			continue // the connection has ended
		}
		if fresh[i] { // also for values that the tail has yet to bring
			settles.add(sub, found, s.m.o.Settle)
		}
		due := found[:0]
		for _, v := range found {
			if !(in.NoLocal && v.Message.Publisher == s.id) && start.Missed(v.Message.Topic, v.Position) {
				due = append(due, v)
			}
		}
		if len(due) == 0 {
			continue
		}
		line := retainedLine{sub: sub, qos: in.QoS, id: in.ID, after: suback, values: make([]waitingValue, len(due))}
		for i, v := range due {
			line.values[i] = waits(v)
		}
		if len(due) > uncountedValues {
			var err error
			if line.memory, err = s.m.room.hold(s.mark, int64(len(due))*waitingBytes, false); err != nil {
				s.tooManyWait(err)
				break
			}
		}
		if !looked {
			older, looked = s.backlog(suback), true
		}
		line.behind = behind(older, in.Filter)
		s.retained = append(s.retained, line)
	}
	settles.ask(s)
	return func() {
		close(suback)
		s.mu.Lock()
		for _, sub := range subs {
			for _, f := range sub.feeds {
				s.feedReady(f)
			}
		}
		s.mu.Unlock()
		s.wake()
	}
}

// tooManyWait closes the connection of a client that subscribes again and again and does not read what is retained. Called with mu held.
func (s *Session) tooManyWait(err error) {
	s.m.log.Warn("client closed: too many retained messages wait to be sent to it", "client", s.id, "error", err)
	if s.conn != nil {
		s.conn.Close(packet.QuotaExceeded, "too many retained messages wait to be sent")
	}
}

// start returns the moment from which the subscription's tail feed hands out what is routed: its beginning or, if the client subscribed to
// the filter again, now. Called with mu held.
func (sub *subscription) start(fresh bool) (delivery.Start, bool) {
	for _, f := range sub.feeds {
		if r, ok := f.reader.(*delivery.LiveReader); ok {
			if fresh {
				return r.Start(), true
			}
			return r.Now(), true
		}
	}
	return delivery.Start{}, false
}

// backlog lists what the session's feeds have to hand out, except for feeds that wait for SUBACK. Called with mu held.
func (s *Session) backlog(suback <-chan struct{}) []backlog {
	var out []backlog
	for _, sub := range s.subs {
		if sub.shared() || suback != nil && sub.retains.suback == suback {
			continue
		}
		for _, f := range sub.feeds {
			switch r := f.reader.(type) {
			case *delivery.LiveReader:
				if mark, any := r.Backlog(); any {
					out = append(out, backlog{f, mark})
				}
			case *delivery.QueueReader:
				if mark, any := r.Backlog(); any {
					out = append(out, backlog{f, mark})
				}
			}
		}
	}
	return out
}

// behind returns the backlogs that can hold records of a filter.
func behind(all []backlog, filter string) []backlog {
	var out []backlog
	for _, b := range all {
		if topic.Overlap(b.f.sub.filter, filter) {
			out = append(out, b)
		}
	}
	return out
}

func (b backlog) reached() bool {
	switch r := b.f.reader.(type) {
	case *delivery.LiveReader:
		return r.Reached(b.mark)
	case *delivery.QueueReader:
		return r.Reached(b.mark)
	default:
		return true
	}
}

// early handles a record that a tail feed hands out as Item.Early: it lies before the subscription and is not delivered live. Called with
// mu held.
func (s *Session) early(f *feed, rec *store.Record) {
	sub := f.sub
	if sub == nil || !sub.retains.wanted || rec.Partial {
		return
	}
	if len(rec.Payload) == 0 && s.m.o.Meta.RemovedSince(rec.Topic, rec.Position) <= sub.retains.asOf {
		return // the lookup knew of the removal
	}
	for _, other := range sub.feeds {
		if other.queue != nil && other.queue.Covers(rec) {
			return // the queue brings it
		}
	}
	v := &meta.Retained{Message: &rec.Message, Position: rec.Position}
	if !sub.retains.settled { // the lookup found nothing
		var settles settlers
		settles.add(sub, []*meta.Retained{v}, s.m.o.Settle)
		settles.ask(s)
	}
	s.addRetained(sub, v, f, true)
	s.sendRetained() // before anything else that the feed brings
}

// addRetained puts a value in line that was not known at SUBSCRIBE. from is the feed that brings what follows the value; early says that
// this feed brought the value too. Called with mu held.
func (s *Session) addRetained(sub *subscription, v *meta.Retained, from *feed, early bool) {
	if sub.options.NoLocal && v.Message.Publisher == s.id {
		return
	}
	var older []backlog
	for _, b := range s.backlog(nil) {
		if b.f != from && b.f.sub != sub {
			older = append(older, b)
		}
	}
	s.retained = append(s.retained, retainedLine{sub: sub, qos: sub.qos, id: sub.id, after: sub.retains.suback,
		behind: behind(older, v.Message.Topic), values: []waitingValue{waits(v)}, early: early})
	s.wake()
}

// retainedShown sends a value that the metadata shows and that no tail of this node has brought to the clients that subscribed meanwhile.
func (m *Manager) retainedShown(v *meta.Retained, version uint64) {
	if client, ok := topic.P2PTarget(v.Message.Topic); ok {
		if s := m.session(client); s != nil {
			s.retainedToItself(v, version)
		}
		return
	}
	m.o.Hub.Missed(v.Message.Topic, v.Position, func(o delivery.Owner) {
		f, ok := o.(*feed)
		if !ok || f.sub == nil {
			return
		}
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		if r := &f.sub.retains; f.s.conn != nil && !f.at.Closed && r.wanted && version > r.asOf {
			f.s.addRetained(f.sub, v, f, false)
		}
	})
}

// sendRetained sends the values in line, except those that have to wait. It reports whether the client takes more. Called with mu held.
func (s *Session) sendRetained() bool {
	if len(s.retained) == 0 {
		return true
	}
	rest := s.retained[:0]
	room := true
	for _, line := range s.retained {
		if room && !line.waits() {
			room = s.sendLine(&line)
		}
		if len(line.values) > 0 {
			rest = append(rest, line)
		}
	}
	clear(s.retained[len(rest):])
	s.retained = rest
	if len(rest) == 0 {
		s.retained = nil
	}
	return room
}

func (l *retainedLine) waits() bool {
	if open(l.after) {
		return true
	}
	l.after = nil
	for len(l.behind) > 0 && l.behind[0].reached() {
		l.behind = l.behind[1:]
	}
	return len(l.behind) > 0
}

// sendLine sends the values of a line as far as the client takes them. It reports whether the client takes more. Called with mu held.
func (s *Session) sendLine(l *retainedLine) bool {
	if l.sub != nil && s.subs[l.sub.filter] != l.sub {
		l.values = nil // unsubscribed
	}
	var ids []uint32
	if l.id != 0 {
		ids = []uint32{l.id}
	}
	for len(l.values) > 0 {
		v := l.values[0].get()
		if v == nil {
			l.values = l.values[1:]
			continue
		}
		qos := min(v.Message.QoS, l.qos)
		if s.blocked() || qos > 0 && s.windowFull() || !s.takes(v.Message, qos, false) {
			return false
		}
		l.values[0] = waitingValue{}
		l.values = l.values[1:]
		if !expired(v.Message) && s.isDue(v, l.early) {
			s.sentValue(v.Message.Topic, v.Position)
			// A client that may have been sent the previous value learns of its removal like any other subscriber. A message without
			// payload is never sent as retained.
			s.dispatch(v.Message, qos, len(v.Message.Payload) > 0, ids, origin{retained: true})
		}
	}
	return true
}

// isDue reports whether a value in line is to be sent now. The session may have had a newer one from a queue, which can be ahead of the
// tails of this node and of the metadata. Called with mu held.
func (s *Session) isDue(v *meta.Retained, early bool) bool {
	name, at := v.Message.Topic, v.Position
	return !s.sent.passed(name, at) && (s.m.o.Meta.IsNewest(name, at) || early && s.sent.follows(name, at))
}

// retainedOnConnect puts in line the point-to-point messages that are retained for the client itself. They are sent when a session begins;
// the feeds bring later ones. Called once the point-to-point feeds of a new session are placed.
func (s *Session) retainedOnConnect(ctx context.Context) {
	found, version := s.m.o.Meta.RetainedTo(s.id)
	values := make([]waitingValue, 0, len(found))
	for _, v := range found {
		if s.missedItself(ctx, v) {
			values = append(values, waits(v))
		}
	}
	s.mu.Lock()
	s.ownRetains = retains{wanted: true, asOf: version}
	if len(values) > 0 {
		s.retained = append(s.retained, retainedLine{qos: 2, values: values})
	}
	s.mu.Unlock()
	s.wake()
}

// retainedToItself is retainedShown for a point-to-point message to the session's own client.
func (s *Session) retainedToItself(v *meta.Retained, version uint64) {
	if len(v.Message.Payload) == 0 {
		return
	}
	s.mu.Lock()
	due := s.conn != nil && s.ownRetains.wanted && version > s.ownRetains.asOf && time.Since(s.connected) < shownWithin
	s.mu.Unlock()
	if !due {
		return
	}
	s.m.run(func() {
		if !s.missedItself(s.m.ctx, v) {
			return
		}
		s.mu.Lock()
		s.retained = append(s.retained, retainedLine{qos: 2, values: []waitingValue{waits(v)}})
		s.mu.Unlock()
		s.wake()
	})
}

// shownWithin is the longest time by which the metadata may show a retained value later than its record. A value shown later than this
// after connecting belongs to a record that was there before the session.
const shownWithin = time.Minute

// missedItself reports whether the session's point-to-point feeds do not bring the record of a retained message. A Position does not tell
// where a record lies in the client's queue. So missedItself reads the record if it is recent enough for the feeds to bring it.
func (s *Session) missedItself(ctx context.Context, v *meta.Retained) bool {
	s.mu.Lock()
	since := s.connected
	s.mu.Unlock()
	if v.Position.Time < since.Add(-shownWithin).UnixMilli() {
		return true
	}
	rec := s.m.recordAt(ctx, v)
	if rec == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.p2p {
		switch r := f.reader.(type) {
		case *delivery.QueueReader:
			if r.Covers(rec) {
				return false
			}
		case *delivery.LiveReader:
			if !r.Start().MissedP2P(rec) {
				return false
			}
		}
	}
	return true
}

// recordAt reads the record of a retained message; nil if the record is gone or cannot be read.
func (m *Manager) recordAt(ctx context.Context, v *meta.Retained) *store.Record {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	physical, err := m.o.Catalog.Physical(ctx, v.Message.Topic, topic.Maker{})
	if err != nil {
		return nil
	}
	p := v.Position
	b, err := m.o.Store.ReadPartition(ctx, physical, store.Partition{Broker: p.Broker, ID: p.Partition}, p.Offset, 1)
	if err != nil || len(b.Records) == 0 || b.Offsets[0] != p.Offset || b.Records[0].Topic != v.Message.Topic {
		return nil
	}
	return b.Records[0]
}
