package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
)

// drains records whether an operator has requested a drain of the node.
type drains struct {
	asked chan struct{} // closed once a drain was requested

	mu   sync.Mutex
	made bool
	over time.Duration
}

// ask requests a drain; it returns false if one was requested before.
func (d *drains) ask(over time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made {
		return false
	}
	d.made, d.over = true, over
	close(d.asked)
	return true
}

// DrainAsked returns a channel that is closed once an operator has requested a drain. Whoever runs the node then calls Drain and Close.
func (g *Gateway) DrainAsked() <-chan struct{} { return g.drains.asked }

// DrainTime returns the duration of the drain: the one that the operator requested, else node.drain_timeout.
func (g *Gateway) DrainTime() time.Duration {
	g.drains.mu.Lock()
	defer g.drains.mu.Unlock()
	if g.drains.made {
		return g.drains.over
	}
	return g.cfg.Node.DrainTimeout
}

// Drain moves the node's clients away, spread evenly over a duration. The node stops being ready, accepts no more connections, and closes
// those that it has, with an MQTT 5 reason and, if mqtt.server_reference is set, the place to go. Sessions and wills are kept. It returns
// when nobody is connected, or when ctx ends.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.rebalances.stop()
	g.drains.ask(over) // SIGTERM drains without a request
	g.admin.SetReady(func() error {
		return fmt.Errorf("draining: %d connections are left", g.mqtt.Connections())
	})
	g.log.Info("draining: no connections are taken any more, and those that are there are closed one after another",
		"connections", g.mqtt.Connections(), "over", over)
	g.mqtt.StopAccepting()
	g.sessions.Drain(ctx, over)
}

// Drain requests a drain of the node.
func (b *backend) Drain(over time.Duration) error {
	if !b.g.drains.ask(over) {
		return admin.Conflict("the node is being drained already")
	}
	return nil
}
