package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/limits"
)

// memory is the node's memory limit, divided by use.
type memory struct {
	watermark *limits.Watermark
	// inbound is for messages on their way into the store, outbound for data on its way to clients, and kept for messages that clients have
	// not acknowledged.
	inbound, outbound, kept *limits.Budget
	windows                 int64 // of delivery, in bytes
	retained                int64 // for retained messages, in bytes
	filters, subscriptions  int64 // in bytes
}

// Bounds of shares that are not configured, in bytes.
const (
	leastShare = 16 << 20
	mostShare  = 1 << 30
	mostWindow = 64 << 20
)

// limitMemory sets the process's soft memory limit and divides it.
func (g *Gateway) limitMemory() {
	c := g.cfg.Limits.Node
	limit := limits.SetMemory(int64(c.Memory))
	g.memory = divide(limit, c)
	g.memory.watermark.Register(g.registry)
	g.log.Info("memory", "limit", shownLimit(limit), "inbound", mib(g.memory.inbound.Whole()),
		"outbound", mib(g.memory.outbound.Whole()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.watchMemory(ctx)
	}()
	g.push(func(context.Context) { cancel(); <-done })
}

// divide divides a limit by use.
func divide(limit int64, c config.NodeLimits) memory {
	m, s := memory{watermark: limits.NewWatermark(limit), windows: min(mostWindow, max(limit/8, leastShare))}, sharesOf(limit, c)
	m.retained, m.filters, m.subscriptions = s.retained, s.filters, s.subscriptions
	m.inbound = limits.NewBudget(s.inbound, m.watermark.High)
	m.outbound = limits.NewBudget(s.outbound, m.watermark.High)
	m.kept = limits.NewBudget(s.outbound, m.watermark.High)
	return m
}

// watchMemory checks the watermark until ctx ends.
func (g *Gateway) watchMemory(ctx context.Context) {
	tick := time.NewTicker(limits.LookEvery)
	defer tick.Stop()
	m := &g.memory
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used, changed := m.watermark.Look()
		switch {
		case !changed:
		case m.watermark.High():
			g.log.Warn("short of memory: no client is admitted, and messages wait; give the process more, or lower limits.node.*", "in_use",
				mib(used), "limit", shownLimit(m.watermark.Limit()))
		default:
			g.log.Info("memory suffices again", "in_use", mib(used))
			m.inbound.Look()
			m.outbound.Look()
		}
	}
}

// mib formats a size in MiB.
func mib(n int64) string { return strconv.FormatInt(n>>20, 10) + "MiB" }
