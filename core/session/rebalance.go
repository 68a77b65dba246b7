package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// Online is how many clients are connected to this node.
func (m *Manager) Online() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.online
}

// Rebalance closes connections, in no order, at a rate of so many a second, until no more than keep are left or as many are closed as
// there were too many: clients that come back to this node are not sent off twice. Sessions and wills are kept as in Drain, and go on
// where the clients connect. It returns how many it has closed, once they are put away or ctx ends.
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
	// What was begun is ended as a client's own leave is, also where the node is drained meanwhile.
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
