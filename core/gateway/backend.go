package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
)

// backend answers the admin API.
type backend struct{ g *Gateway }

var _ admin.Backend = (*backend)(nil)

// Topics lists the registered first-level topics.
func (b *backend) Topics(ctx context.Context) ([]admin.Topic, error) {
	infos, err := b.g.store.Topics(ctx)
	if err != nil {
		return nil, err
	}
	var out []admin.Topic
	for _, name := range b.g.meta.Topics() {
		t := admin.Topic{Name: name}
		if i := slices.IndexFunc(infos, func(ti store.TopicInfo) bool { return ti.Name == name }); i >= 0 {
			t.Queues, t.Brokers = infos[i].Queues, infos[i].Brokers
		}
		out = append(out, t)
	}
	return out, nil
}

// CreateTopic creates and registers a first-level topic.
func (b *backend) CreateTopic(ctx context.Context, name string, queues int) (admin.Topic, error) {
	if strings.ContainsAny(name, "/+#") || name == "" {
		return admin.Topic{}, fmt.Errorf("%w: a first-level topic is the text before the first \"/\" of an MQTT topic, not %q", admin.ErrInvalid, name)
	}
	if err := b.g.store.ValidTopic(name); err != nil {
		return admin.Topic{}, fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	if err := b.g.catalog.Create(ctx, name, queues); err != nil {
		return admin.Topic{}, err
	}
	info, err := b.g.store.Topic(ctx, name)
	if err != nil {
		return admin.Topic{Name: name, Queues: cmp.Or(queues, b.g.cfg.Topics.Queues)}, nil //nolint:nilerr // it was created
	}
	return admin.Topic{Name: name, Queues: info.Queues, Brokers: info.Brokers}, nil
}

// DeleteTopic removes a first-level topic, its records and its registration.
func (b *backend) DeleteTopic(ctx context.Context, name string) error {
	err := b.g.catalog.Delete(ctx, name)
	if errors.Is(err, store.ErrUnknownTopic) {
		return fmt.Errorf("%w: there is no first-level topic %q; lmqgate topic list shows them", admin.ErrNotFound, name)
	}
	return err
}

// Clients describes the connected clients.
func (b *backend) Clients() any { return b.g.sessions.Clients() }

// Subscriptions describes the subscriptions of the connected clients.
func (b *backend) Subscriptions() any { return b.g.sessions.Subscriptions() }

// Kick closes a client's connection.
func (b *backend) Kick(clientID string) bool { return b.g.sessions.Kick(clientID) }

// EndSession ends a session for good.
func (b *backend) EndSession(ctx context.Context, clientID string) error {
	err := b.g.sessions.End(ctx, clientID)
	switch {
	case errors.Is(err, session.ErrNoSession):
		return fmt.Errorf("%w: client %q has no session", admin.ErrNotFound, clientID)
	case errors.Is(err, session.ErrElsewhere):
		return admin.Conflict("%w; end the session there", err)
	}
	return err
}

// Plugins describes the plugins.
func (b *backend) Plugins() any {
	plugins := b.g.host.Plugins()
	out := make([]any, 0, len(plugins))
	for _, p := range plugins {
		out = append(out, p.Info())
	}
	return out
}

// ReloadPlugins reads the configuration again and swaps plugins.
func (b *backend) ReloadPlugins(ctx context.Context, name string, force bool) (admin.Reloaded, error) {
	return b.g.Reload(ctx, name, force)
}

// Nodes describes the nodes that are alive.
func (b *backend) Nodes() any { return b.g.meta.Nodes() }

// Info describes this node.
func (b *backend) Info() admin.Info {
	applied := b.g.reloads.present()
	return admin.Info{Node: b.g.id, Version: b.g.version, Started: b.g.started, Uptime: time.Since(b.g.started).Round(time.Second).String(),
		Connections: b.g.mqtt.Connections(), Store: b.g.cfg.Store.Type, Auth: applied.Auth.Plugin, Meta: applied.Meta.Plugin}
}
