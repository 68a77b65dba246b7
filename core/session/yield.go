package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Yield ends a connection whose client has connected to another node, and hands the session over to that node. When Yield returns,
// everything the client published is stored, everything it acknowledged is committed, and the session is recorded. ends says that the
// session is over because the newer connection begins another one. Yield does nothing if the claim's connection has ended already.
func (m *Manager) Yield(ctx context.Context, claim *cluster.Claim, ends bool) {
	id := claim.Client()
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return
	}
	defer unlock()
	s := m.session(id)
	c := s.connOf(claim)
	if c == nil { // it is over already, but perhaps not what it published
		m.settle(ctx, id, nil)
		return
	}
	m.metrics.takeovers.Inc()
	m.o.Events.Add(events.Event{Kind: events.SessionTakenOver, ClientID: id, Reason: "the client connected to another node"})
	m.log.Info("client connected to another node; closing its connection here", "client", id)
	s.lastAcks()
	c.Close(packet.SessionTakenOver, "another connection uses this client id")
	m.settle(ctx, id, c)
	s.detach(ctx, c, Ending{})
	if ends {
		m.willEndsElsewhere(id)
	} else {
		m.willElsewhere(id)
	}
	if m.session(id) == s {
		s.discard(false) // from now on the other node changes the session
	}
}

// connOf returns the connection of a claim; nil if it is over.
func (s *Session) connOf(claim *cluster.Claim) Conn {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim != claim {
		return nil
	}
	return s.conn
}

const (
	// ackQuiet: a connection that is taken over is closed once nothing was acknowledged for this long. ackMost bounds that wait in all.
	ackQuiet = 10 * time.Millisecond
	ackMost  = 100 * time.Millisecond
	ackLook  = time.Millisecond
)

// lastAcks stops sending, and gives the connection a moment to read the client's last acknowledgements; otherwise those messages would be
// sent again. It takes no time if nothing is in flight.
func (s *Session) lastAcks() {
	if !s.durable() {
		return
	}
	s.mu.Lock()
	s.leaving = true
	left := s.out.Len()
	s.mu.Unlock()
	began := time.Now()
	for last := began; left > 0 && time.Since(last) < ackQuiet && time.Since(began) < ackMost; {
		time.Sleep(ackLook)
		s.mu.Lock()
		now := s.out.Len()
		s.mu.Unlock()
		if now != left {
			left, last = now, time.Now()
		}
	}
}

// Resume wakes all sessions after the node was fenced.
func (m *Manager) Resume() {
	for _, s := range m.inMemory() {
		s.wake()
	}
}
