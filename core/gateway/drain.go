package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
)

// drains is whether an operator asked for the node to be drained.
type drains struct {
	asked chan struct{} // closed once it was

	mu   sync.Mutex
	made bool
	over time.Duration
}

// ask notes that the node is to be drained; it returns false if it was asked before.
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

// DrainAsked is closed once an operator has asked for the node to be drained. Whoever runs the node then calls Drain, and Close.
func (g *Gateway) DrainAsked() <-chan struct{} { return g.drains.asked }

// DrainTime is over what time the node is to be drained: what the operator who asked for it said, else node.drain_timeout.
func (g *Gateway) DrainTime() time.Duration {
	g.drains.mu.Lock()
	defer g.drains.mu.Unlock()
	if g.drains.made {
		return g.drains.over
	}
	return g.cfg.Node.DrainTimeout
}

// Drain moves the node's clients off, evenly over a time: the node turns not ready, takes no connections any more, and closes those that
// it has, with MQTT 5's reason and, where mqtt.server_reference is set, where to go. Sessions and wills are kept. It returns when nobody
// is connected, or ctx ends.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.rebalances.stop()
	g.drains.ask(over) // SIGTERM drains as well
	g.admin.SetReady(func() error {
		return fmt.Errorf("draining: %d connections are left", g.mqtt.Connections())
	})
	g.log.Info("draining: no connections are taken any more, and those that are there are closed one after another",
		"connections", g.mqtt.Connections(), "over", over)
	g.mqtt.StopAccepting()
	g.sessions.Drain(ctx, over)
}

// Drain asks for the node to be drained.
func (b *backend) Drain(over time.Duration) error {
	if !b.g.drains.ask(over) {
		return admin.Conflict("the node is being drained already")
	}
	return nil
}
