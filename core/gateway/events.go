package gateway

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/store"
)

// eventsFlush is how long a stop waits until events are stored.
const eventsFlush = 5 * time.Second

// shownEvents is the topic of events where clients may subscribe to them.
func (g *Gateway) shownEvents() string {
	if !g.cfg.Events.MQTT {
		return ""
	}
	return g.cfg.Events.Topic
}

// makeEvents makes what takes events, where somebody wants them.
func (g *Gateway) makeEvents() {
	if g.cfg.Events.Topic == "" {
		return
	}
	g.events = events.New(events.Options{Node: g.id, Log: g.log, Registerer: g.registry,
		Store: func(ctx context.Context, batch []*store.Message) (int, error) {
			return g.publisher.Own(ctx, g.id, batch)
		}})
}

// startEvents begins to store events. Those of the stop are stored too: only the store stops later.
func (g *Gateway) startEvents() {
	if !g.events.On() {
		return
	}
	g.events.Start()
	g.push(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, eventsFlush)
		defer cancel()
		g.events.Close(ctx)
	})
}
