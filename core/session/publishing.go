package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
)

// A client may connect to another node once its claim here is released. Nothing that it published here may be stored behind what it
// publishes there. So the claim of a connection that is over is kept until the outcome of all that it published is known, or until another
// node wants the client.

// publishing holds the connections that are over while something they published waits for its outcome, by client id.
type publishing struct {
	mu  sync.Mutex
	all map[string][]Conn
}

func (p *publishing) of(id string) []Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all[id])
}

func (p *publishing) add(id string, c Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[string][]Conn)
	}
	p.all[id] = append(p.all[id], c)
}

func (p *publishing) remove(id string, c Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := slices.DeleteFunc(p.all[id], func(other Conn) bool { return other == c })
	if len(rest) == 0 {
		delete(p.all, id)
		return
	}
	p.all[id] = rest
}

// settleTimeout is how long another node waits for what a client published here. A longer wait means that the store is in trouble: what
// waits then is withheld.
const settleTimeout = 3 * time.Second

// settle ends the publishing of a client's connections that are over, and of c unless it is nil.
func (m *Manager) settle(ctx context.Context, id string, c Conn) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	all := m.publishing.of(id)
	if c != nil {
		all = append(all, c)
	}
	for _, c := range all {
		if c.Settle(ctx) != nil {
			c.Withhold()
		}
	}
}

// release releases a claim, at once if nothing waits that came over its connection c, which is over, or over older ones of the client here:
// their claims ended with this one. c is nil if the connection was refused. A node that stops waits for all of that.
func (m *Manager) release(ctx context.Context, id string, claim *cluster.Claim, c Conn) {
	switch {
	case m.stops():
		m.settle(ctx, id, c)
	case claim != nil && m.publishes(id, c) && m.releaseLater(id, claim, c):
		return
	}
	claim.Release()
}

func (m *Manager) publishes(id string, c Conn) bool {
	return c != nil && c.Settle(atOnce) != nil || len(m.publishing.of(id)) > 0
}

// atOnce is a context that has ended, for a look without a wait.
var atOnce = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// releaseLater releases a claim once everything that release looks for has its outcome. It returns false if the node stops.
func (m *Manager) releaseLater(id string, claim *cluster.Claim, c Conn) bool {
	all := m.publishing.of(id)
	if c != nil {
		all = append(all, c)
		m.publishing.add(id, c)
	}
	return m.run(func() {
		for _, each := range all {
			if each.Settle(m.ctx) != nil { // the node stops
				each.Withhold()
			}
		}
		m.publishing.remove(id, c)
		claim.Release()
	})
}

// stops reports whether the manager is closing.
func (m *Manager) stops() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}
