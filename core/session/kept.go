package session

import (
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// What a client has not acknowledged must be sent again when it comes back. The messages are kept in memory for that as far as the client
// and the node have memory for them. Those of a queue can be read from the store again, so no more is kept of them; where something was
// not kept they are all given up from memory when the client leaves, and read again from the commit offsets, as after a restart of the
// node. Messages that no queue has are not sent before there is memory to keep them. A session that ends with its connection never sends
// anything again, so nothing is kept of it.

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

// giveUp takes what a queue brings again out of memory, where some of it is not kept: the queues' feeds go back to the first record that
// is not acknowledged, as after a restart of the node. What no queue brings stays under way, with its packet ids. Called with mu held and
// no connection.
func (s *Session) giveUp() {
	if !s.out.Incomplete() {
		return
	}
	s.m.metrics.givenUp.Inc()
	for _, m := range s.out.GiveUp() {
		s.journal.GiveUp(m, &s.out)
	}
	s.eachFeed(func(f *feed) { f.at.GiveUp() })
}
