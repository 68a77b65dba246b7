package session

import (
	"context"

	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// inbound is a QoS 2 message of the client that was not released yet.
type inbound struct {
	stored  bool
	waiting []func(error)
	// epoch and counter name it in the journal; both 0 where the session is not durable.
	epoch, counter int64
}

// Publish stores a message that came by the client's connection with these lanes, and then calls done exactly once, as
// publish.Lanes does. A QoS 2 packet id that is not released yet is not stored again [MQTT-4.3.3-10].
func (s *Session) Publish(ctx context.Context, lanes *publish.Lanes, m *store.Message, id uint16, done func(error)) {
	if m.QoS < 2 {
		lanes.Publish(m, done)
		return
	}
	noted := s.journals(ctx, m)
	s.mu.Lock()
	if in := s.inbound[id]; in != nil {
		if !in.stored {
			in.waiting = append(in.waiting, done)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		done(nil)
		return
	}
	in := &inbound{}
	if noted {
		s.journal.counter++
		in.epoch, in.counter = s.epoch, s.journal.counter
		m.Exchange = exchange(s.created.UnixMilli(), heldMessage{id, in.epoch, in.counter})
	}
	if s.inbound == nil {
		s.inbound = make(map[uint16]*inbound)
	}
	s.inbound[id] = in
	s.mu.Unlock()
	lanes.Publish(m, func(err error) {
		s.mu.Lock()
		waiting := in.waiting
		in.waiting, in.stored = nil, true
		if err != nil && s.inbound[id] == in {
			delete(s.inbound, id)
		}
		s.mu.Unlock()
		done(err)
		for _, f := range waiting {
			f(err)
		}
	})
}

// journals reports whether a QoS 2 message of the client is to be noted in the journal, and makes the session's record say so the
// first time that the client sends one to a first-level topic. Where that fails the message is taken once while the node lives.
func (s *Session) journals(ctx context.Context, m *store.Message) bool {
	first := topic.First(m.Topic)
	if !s.durable() {
		return false
	}
	s.mu.Lock()
	noted := s.journal.firsts[first]
	many := len(s.journal.topics) >= maxJournalTopics
	s.mu.Unlock()
	if noted || many {
		return noted
	}
	physical, err := s.m.o.Catalog.Physical(ctx, m.Topic)
	if err != nil {
		return false // it is refused when it is published
	}
	if err := s.keepsJournal(ctx, physical); err != nil {
		s.m.log.Warn("recording that a session sends QoS 2 messages failed; after a crash they may be stored twice", "client", s.id, "error", err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.firsts == nil {
		s.journal.firsts = make(map[string]bool, 1)
	}
	s.journal.firsts[first] = true
	return true
}

// Release takes a PUBREL of the client and calls done once PUBCOMP may leave, from any goroutine: with false where the packet id
// is not known, and with an error where that could not be recorded.
func (s *Session) Release(id uint16, done func(known bool, err error)) {
	s.mu.Lock()
	in, ok := s.inbound[id]
	delete(s.inbound, id)
	if len(s.inbound) == 0 {
		s.inbound = nil
	}
	if ok && in.epoch != 0 {
		s.note(func(err error) { done(true, err) })
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	done(ok, nil)
}
