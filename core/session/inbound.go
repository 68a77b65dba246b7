package session

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/session/journal"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Publish stores a message from the client's connection with these lanes and calls done exactly once, as publish.Lanes does. A QoS 2
// message whose packet id is not released yet is not stored again [MQTT-4.3.3-10].
func (s *Session) Publish(ctx context.Context, lanes *publish.Lanes, m *store.Message, id uint16, done func(error)) {
	if m.QoS < 2 {
		lanes.Publish(m, done)
		return
	}
	noted := s.journals(ctx, m)
	s.mu.Lock()
	in, arrival := s.inbound.Take(id, done)
	if arrival == flight.New && noted {
		m.Exchange = journal.Exchange(s.created.UnixMilli(), s.journal.Number(id, s.epoch, in))
	}
	s.mu.Unlock()
	switch arrival {
	case flight.UnderWay: // done is called together with the first one
	case flight.Repeated:
		s.retainAgain(in, m, done)
	case flight.New:
		lanes.Publish(m, func(err error) {
			s.mu.Lock()
			outcome := err
			var unretained *publish.UnretainedError
			if errors.As(err, &unretained) && s.version != packet.V5 {
				// The client, which cannot be told, sends the message again: it must not be stored again then.
				in.Due, outcome = &unretained.At, nil
			}
			waiting := s.inbound.Stored(id, in, outcome)
			s.mu.Unlock()
			done(err)
			for _, f := range waiting {
				f(err)
			}
		})
	}
}

// retainAgain answers a repetition of a stored message. If its retained message may not be recorded, that is done first.
func (s *Session) retainAgain(in *flight.Taken, m *store.Message, done func(error)) {
	s.mu.Lock()
	due := in.Due
	s.mu.Unlock()
	if due == nil || !m.Retain {
		done(nil)
		return
	}
	s.m.o.Publisher.RetainAgain(m, *due, func(err error) {
		s.mu.Lock()
		if err == nil {
			in.Due = nil
		}
		s.mu.Unlock()
		done(err)
	})
}

// journals reports whether to note a QoS 2 message from the client in the journal. With the client's first QoS 2 message to a first-level
// topic, it adds the topic to the session's record. If that fails, the message is stored exactly once only while this node lives.
func (s *Session) journals(ctx context.Context, m *store.Message) bool {
	first := topic.First(m.Topic)
	if !s.durable() {
		return false
	}
	s.mu.Lock()
	noted, full := s.journal.Covers(first), s.journal.Full()
	s.mu.Unlock()
	if noted || full {
		return noted
	}
	if s.m.o.Publisher.Room(m) != nil {
		return false // publishing the message fails with the reason, and a refused message creates no topic
	}
	physical, err := s.m.o.Catalog.Physical(ctx, m.Topic, s.maker())
	if err != nil {
		return false // as above
	}
	if err := s.keepsJournal(ctx, physical); err != nil {
		s.m.log.Warn("recording that a session sends QoS 2 messages failed; after a crash they may be stored twice",
			"client", s.id, "error", err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.Cover(first)
	return true
}

// Release handles a PUBREL from the client. It calls done, from any goroutine, once PUBCOMP may be sent: with known false if the packet id
// is unknown, and with an error if the release could not be recorded. It returns the same known at once.
func (s *Session) Release(id uint16, done func(known bool, err error)) (known bool) {
	s.mu.Lock()
	in := s.inbound.Release(id)
	s.mu.Unlock()
	known = in != nil
	if known && in.Epoch == 0 || !known && !s.states.Unsaved() {
		done(known, nil)
		return known
	}
	// An unknown packet id may have been released a moment ago over an older connection. The client uses the id again after PUBCOMP, so the
	// release must be stored before: otherwise another node could take the next message for the one that was released.
	s.states.Note(func(err error) { done(known, err) })
	return known
}
