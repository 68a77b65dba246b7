package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/store"
)

// backend implements the admin API.
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

// Plugins describes the plugins.
func (b *backend) Plugins() []admin.Plugin {
	plugins := b.g.host.Plugins()
	out := make([]admin.Plugin, 0, len(plugins))
	for _, p := range plugins {
		i := p.Info()
		out = append(out, admin.Plugin{Name: i.Name, Kind: i.Kind, Path: i.Path, Version: i.Version, Checksum: i.Checksum, Pinned: i.Pinned,
			Mode: i.Mode, Warning: i.Warning, PID: i.PID, State: string(i.State), Uptime: i.Uptime.Seconds(), Restarts: i.Restarts,
			Calls: i.Calls, Errors: i.Errors, Suspended: i.Suspended, Memory: i.Memory, MemoryLimit: i.MemoryLimit,
			LastError: i.LastError, Contract: i.Contract, Secure: i.Secure})
	}
	return out
}

// ReloadPlugins reads the configuration again and swaps plugins.
func (b *backend) ReloadPlugins(ctx context.Context, name string, force bool) (admin.Reloaded, error) {
	return b.g.Reload(ctx, name, force)
}

// Nodes describes the live nodes: those that the metadata lists, and those that answer.
func (b *backend) Nodes(ctx context.Context) []admin.Node {
	states := map[string]nodeState{b.g.id: b.state()}
	answers, missing := ask[nodeState](ctx, b.g.cluster, askNode, nil)
	for _, a := range answers {
		states[a.node] = a.what
	}
	var out []admin.Node
	for _, n := range b.g.meta.Nodes() {
		made := admin.Node{ID: n.ID, Instance: n.Instance, Started: n.Started, Info: n.Info, Self: n.Self}
		if s, ok := states[n.ID]; ok {
			made.Version, made.State, made.Connections = s.Version, s.State, &s.Connections
			delete(states, n.ID)
		}
		for _, m := range missing {
			if m.Node == n.ID {
				made.Error = m.Error
			}
		}
		out = append(out, made)
	}
	for id, s := range states { // not in the metadata yet
		out = append(out, admin.Node{ID: id, Started: s.Started, Self: id == b.g.id, Version: s.Version, State: s.State,
			Connections: &s.Connections})
	}
	slices.SortFunc(out, func(a, b admin.Node) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Configuration returns the configuration in force.
func (b *backend) Configuration() map[string]any { return b.g.reloads.present().Shown() }

// LogLevel returns the lowest level that is logged.
func (b *backend) LogLevel() string { return strings.ToLower(b.g.logLevel.Level().String()) }

// SetLogLevel sets the lowest level that is logged.
func (b *backend) SetLogLevel(level string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("%w: level %q is none of debug, info, warn, error", admin.ErrInvalid, level)
	}
	if before := b.g.logLevel.Level(); before != l {
		b.g.logLevel.Set(l)
		b.g.log.Warn("an operator set the log level", "level", level, "before", strings.ToLower(before.String()))
	}
	return nil
}

// Info describes this node.
func (b *backend) Info() admin.Info {
	applied := b.g.reloads.present()
	listeners := make([]admin.Listener, 0, len(b.g.addrs))
	for i, a := range b.g.addrs {
		l := b.g.cfg.Listeners[i]
		made := admin.Listener{Type: string(l.Type), Address: a.String()}
		if l.Type == config.ListenerWS || l.Type == config.ListenerWSS {
			made.Path = l.Path
		}
		listeners = append(listeners, made)
	}
	return admin.Info{Node: b.g.id, Version: b.g.version, Started: b.g.started, Uptime: time.Since(b.g.started).Round(time.Second).String(),
		Connections: b.g.mqtt.Connections(), Store: b.g.cfg.Store.Type, Auth: applied.Auth.Plugin, Meta: applied.Meta.Plugin,
		Listeners: listeners}
}

// adminTokens returns the tokens of the admin API in addition to admin.token.
func (g *Gateway) adminTokens() []admin.Token {
	out := make([]admin.Token, len(g.cfg.Admin.Tokens))
	for i, t := range g.cfg.Admin.Tokens {
		out[i] = admin.Token{Name: t.Name, Role: admin.Viewer, Value: t.Token.Reveal()}
		if t.Role == config.RoleAdmin {
			out[i].Role = admin.Administrator
		}
	}
	return out
}
