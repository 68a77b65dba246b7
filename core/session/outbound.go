package session

import (
	"slices"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// Ack handles a PUBACK, PUBREC or PUBCOMP from the client. It returns false if that changes nothing: the packet id is not in
// flight, or the packet was handled before.
func (s *Session) Ack(kind packet.Type, id uint16, code packet.Code) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, step := s.out.Ack(kind, id, code)
	switch step {
	case flight.Nothing:
		return false
	case flight.Unknown:
		s.sendRelease(id, packet.PacketIdentifierNotFound)
		return false
	case flight.Complete:
		s.complete(m)
	case flight.ReleaseAgain:
		s.sendRelease(id, packet.Success)
		return false
	case flight.Release:
		s.received(m)
	case flight.Wait: // the journal continues the exchange
		return false
	}
	return true
}

// received sends PUBREL for a message that the client has. For a recorded session it does so once the journal has noted it. If that fails,
// Start does it on the next connection: the client does not send PUBREC again. Called with mu held.
func (s *Session) received(m *flight.Message) {
	if !s.durable() {
		s.release(m)
		return
	}
	m.Noting = true
	s.states.Note(func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.Noting = false
		if err != nil || m.Done {
			return
		}
		if m.Lease != nil { // the journal now keeps the record from being sent again
			m.Lease.Ack()
			m.Lease = nil
		}
		s.release(m)
	})
}

// release sends PUBREL. Called with mu held.
func (s *Session) release(m *flight.Message) {
	m.Released = true
	if s.started {
		s.sendRelease(m.ID, packet.Success)
	}
}

func (s *Session) sendRelease(id uint16, code packet.Code) {
	if s.conn != nil {
		s.conn.SendAck(packet.PUBREL, id, code)
	}
}

// complete ends an exchange. Called with mu held.
func (s *Session) complete(m *flight.Message) {
	if s.durable() {
		s.journal.Finish(m)
	}
	if s.out.Complete(m) {
		s.dirty()
	}
	if m.Lease != nil {
		m.Lease.Ack()
		m.Lease = nil
	}
	s.wake()
}

// sendAgain sends the messages that were in flight when the last connection ended [MQTT-4.4.0-1], as far as the client's window and the
// connection's buffer allow. It reports whether all of them are sent. An expired message is sent as well: the client may already know its
// packet id. Called with mu held.
func (s *Session) sendAgain() bool {
	left := 0
	for _, m := range s.resend {
		if !m.Done {
			left++
		}
	}
	for i, m := range s.resend {
		switch {
		case m.Done:
			continue
		case m.Noting, m.Received && !m.Released: // the journal continues the exchange
		case s.blocked(), !m.Released && (s.out.Len()-left >= s.window || !s.roomFor(m.Content)):
			s.resend = s.resend[i:]
			return false
		case m.Released:
			s.conn.SendAck(packet.PUBREL, m.ID, packet.Success)
		default:
			s.sendInFlight(m, nil)
		}
		left--
	}
	s.resend = nil
	return true
}

// sendInFlight sends a message that is in flight already, for the first time or again. Called with mu held and while there is a connection.
func (s *Session) sendInFlight(m *flight.Message, span *tracing.Span) {
	dup := !m.Unsent
	m.Unsent = false
	if s.send(m.Content, m.QoS, m.Retain, dup, m.ID, m.SubscriptionIDs, span) == TooLarge {
		s.complete(m)
	}
}

// noteAgain continues the exchanges whose states the journal could not store. Called with mu held.
func (s *Session) noteAgain() {
	for _, m := range s.resend {
		switch {
		case m.Noting, m.Released:
		case m.Received:
			s.received(m)
		case m.Unsent:
			s.sendNoted(m)
		}
	}
}

// sendNoted sends a QoS 2 message once the journal has its packet id. If that fails, Start tries again on the next connection. Called with
// mu held.
func (s *Session) sendNoted(m *flight.Message) {
	m.Unsent, m.Noting = true, true
	s.noting = s.noting || m.Assigned // messages behind it must not overtake it
	s.states.Note(func(err error) {
		s.mu.Lock()
		m.Noting = false
		if m.Assigned {
			s.noting = false
		}
		switch {
		case err != nil, m.Done, s.conn == nil:
		case !s.started, slices.Contains(s.resend, m): // sendAgain sends it, behind what was sent before it
		default:
			s.sendInFlight(m, s.delivers(m.Content, m.QoS, m.RecordID != ""))
		}
		s.flush()
		s.mu.Unlock()
		s.wake()
	})
}
