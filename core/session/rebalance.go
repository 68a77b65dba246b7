package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// Online returns how many clients are connected to this node.
func (m *Manager) Online() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.online
}

// Rebalance closes connections, in no order, at rate connections per second. It stops when no more than keep are left, or when it has
// closed the initial surplus, so that clients that come back to this node are not sent away twice. Sessions and wills are kept as in Drain
// and go on where the clients connect. It returns the number of connections closed, once their sessions are detached or ctx ends.
func (m *Manager) Rebalance(ctx context.Context, keep int, rate float64) (moved int) {
	surplus := m.Online() - keep
	p := newPace()
	defer p.wait()
	for _, s := range m.inMemory() {
		if moved >= surplus || m.Online() <= keep {
			return moved
		}
		if s.detached() {
			continue
		}
		if !p.step(ctx, time.Duration(float64(moved)/rate*float64(time.Second)), func() { s.move(ctx) }) {
			return moved
		}
		moved++
	}
	return moved
}

// move sends the session's client to another node.
func (s *Session) move(ctx context.Context) {
	unlock, err := s.m.lock(ctx, s.id)
	if err != nil {
		return
	}
	defer unlock()
	// A move that has begun is completed like a client's own departure, even if the node is drained meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
	defer cancel()
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return
	}
	s.lastAcks()
	c.Close(packet.UseAnotherServer, "this server has more clients than the others")
	s.detach(ctx, c, Ending{Moved: true})
}
