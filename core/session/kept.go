package session

import (
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

// Messages that a client has not acknowledged must be sent again when it comes back. They are kept in memory for that, within the memory
// limits of the client and of the node.
//
// Messages from a queue can be read from the store again, so they are dropped when memory is short. If any was dropped, all of them are
// given up when the client leaves, and are read again from the commit offsets, as after a restart of the node. Messages that no queue has
// are not sent until there is memory to keep them. A session that ends with its connection never sends anything again, so it keeps nothing.

// keptCost is the approximate cost of a message besides its payload and topic, in bytes.
const keptCost = 512

func costOf(m *store.Message) int64 { return int64(len(m.Payload) + len(m.Topic) + keptCost) }

// takes reports whether memory allows sending a message now. queue says whether a queue has the message. Called with mu held.
func (s *Session) takes(m *store.Message, qos byte, queue bool) bool {
	if qos > 0 && !queue && s.durable() && s.out.Len() > 0 && s.out.Kept()+costOf(m) > s.m.maxKept.Load() {
		return false // the next acknowledgement runs the pump
	}
	return s.roomFor(m)
}

// roomFor reports whether the connection has room for a message. Called with mu held and while there is a connection.
func (s *Session) roomFor(m *store.Message) bool {
	if m != nil && !s.conn.Room(len(m.Payload)) {
		s.full = true
		return false
	}
	return true
}

// keep keeps the content of a message in flight in memory, or drops it. Called with mu held.
func (s *Session) keep(d *flight.Message, queue bool) {
	switch cost := costOf(d.Content); {
	case d.Done:
	case !s.durable():
		d.Content = nil
	case !queue, d.Unsent: // a message that waits for the journal has still to be sent
		s.m.o.Kept.Add(cost)
		s.out.Keep(d, cost)
	case s.out.Kept()+cost <= s.m.maxKept.Load() && s.m.o.Kept.Try(cost):
		s.out.Keep(d, cost)
	default:
		d.Content = nil
	}
}

// giveUp removes from memory the messages that queues bring again, if the content of any of them was dropped. The feeds of the queues go
// back to the first unacknowledged record, as after a restart of the node. Messages that no queue brings stay in flight with their packet
// ids. Called with mu held and without a connection.
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
