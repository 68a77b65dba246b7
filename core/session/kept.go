package session

import (
	"context"

	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// What a client has not acknowledged must be sent again when it comes back. The messages are kept in memory for that as far as the client
// and the node have memory for them. Those of a queue can be read from the store again, so no more is kept of them; a session of which
// something was not kept is given up from memory when its client leaves, and comes back from its record and its commit offsets, as after a
// restart of the node. Messages that no queue has are not sent before there is memory to keep them. A session that ends with its
// connection never sends anything again, so nothing is kept of it.

// keptCost is what a message costs beside its payload, about.
const keptCost = 512

func costOf(m *store.Message) int64 { return int64(len(m.Payload) + len(m.Topic) + keptCost) }

// takes reports whether a message may be sent now, as far as memory goes. queue says whether a queue has it. Called with mu held.
func (s *Session) takes(m *store.Message, qos byte, queue bool) bool {
	if qos > 0 && !queue && s.durable() && s.out.Len() > 0 && s.out.Kept()+costOf(m) > s.m.maxKept.Load() {
		return false // an acknowledgement makes the pump run
	}
	return s.roomFor(m)
}

// roomFor reports whether the connection has room for a message. Called with mu held and a connection.
func (s *Session) roomFor(m *store.Message) bool {
	if m != nil && !s.conn.Room(len(m.Payload)) {
		s.full = true
		return false
	}
	return true
}

// keep keeps a message that is under way in memory, or lets it go. Called with mu held.
func (s *Session) keep(d *flight.Message, queue bool) {
	switch cost := costOf(d.Content); {
	case d.Done:
	case !s.durable():
		d.Content = nil
	case !queue, d.Unsent: // what waits for the journal is still to be sent
		s.m.o.Kept.Add(cost)
		s.out.Keep(d, cost)
	case s.out.Kept()+cost <= s.m.maxKept.Load() && s.m.o.Kept.Try(cost):
		s.out.Keep(d, cost)
	default:
		d.Content = nil
	}
}

// settle waits, where the session is about to be given up, for what its client publishes at QoS 2 and the store has not confirmed: who
// resumes the session must find it in the store, or the client's next try would be stored as well.
func (s *Session) settle(ctx context.Context) {
	s.mu.Lock()
	waits := s.out.Incomplete() && s.inbound.Len() > 0
	s.mu.Unlock()
	if !waits {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	s.m.o.Publisher.Settle(ctx, s.id)
}

// giveUp reports whether the session cannot go on from what is in memory, and then gives back what it keeps. Called with mu held and no
// connection.
func (s *Session) giveUp() bool {
	if !s.out.Incomplete() {
		return false
	}
	s.m.metrics.givenUp.Inc()
	s.forsake(false)
	s.out.Release()
	return true
}
