package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Yield ends a connection whose client has connected to another node, and puts its session away for that node: what the client
// published is stored, what it acknowledged is committed, and the session is recorded, when Yield returns. ends says that the session is
// over, because the newer connection begins another. It does nothing where the claim's connection has ended.
func (m *Manager) Yield(ctx context.Context, claim *cluster.Claim, ends bool) {
	id := claim.Client()
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return
	}
	defer unlock()
	s := m.session(id)
	if s == nil {
		return
	}
	s.mu.Lock()
	c := s.conn
	if s.claim != claim {
		c = nil
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	m.metrics.takeovers.Inc()
	m.log.Info("client connected to another node; closing its connection here", "client", id)
	s.lastAcks()
	c.Close(packet.SessionTakenOver, "another connection uses this client id")
	// Nothing of this connection is stored behind what the client sends by the newer one.
	settle, cancel := context.WithTimeout(ctx, settleTimeout)
	m.o.Publisher.Settle(settle, id)
	cancel()
	s.detach(ctx, c, Ending{})
	m.cancelWill(id, ends)
	if m.session(id) == s {
		s.discard(false) // the other node changes it from now on
	}
}

// settleTimeout is how long a newer connection waits for what the older one published. After that the store is in trouble.
const settleTimeout = 3 * time.Second

const (
	// ackQuiet is for how long nothing may be acknowledged before a connection that is taken over is closed, and ackMost how long that
	// may take in all.
	ackQuiet = 10 * time.Millisecond
	ackMost  = 100 * time.Millisecond
	ackLook  = time.Millisecond
)

// lastAcks stops sending, and gives the connection a moment to read what the client has acknowledged: it would be sent again otherwise.
// It costs nothing where nothing is in flight.
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

// Resume makes sessions go on after the node was fenced.
func (m *Manager) Resume() {
	for _, s := range m.inMemory() {
		s.wake()
	}
}
