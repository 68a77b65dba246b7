package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// stage starts the target of a metadata migration: meta.next in the present configuration file, so that a migration needs no restart. If
// the operator has already made the target the meta plugin, it starts that.
func (g *Gateway) stage(ctx context.Context, plugin string) (*meta.Target, error) {
	next := g.reloads.present()
	if g.reread != nil {
		var err error
		if next, err = g.reread(); err != nil {
			return nil, fmt.Errorf("its configuration cannot be used: %s", oneLine(err))
		}
	}
	name, block := next.Meta.Next.Plugin, next.Meta.Next.Config
	present := g.reloads.present().Meta
	if name == "" && (next.Meta.Plugin != present.Plugin || !sameBlock(next.Meta.Config, present.Config)) {
		name, block = next.Meta.Plugin, next.Meta.Config
	}
	switch {
	case name == "":
		return nil, errors.New("its configuration has no meta.next: write the target of the migration there")
	case name != plugin:
		return nil, fmt.Errorf("meta.next of its configuration is %s, and the migration goes to %s", name, plugin)
	}
	p, err := g.stageMeta(ctx, next, name, block)
	if err != nil {
		return nil, err
	}
	return &meta.Target{Client: p.Meta(), Traits: func() *pluginv1.MetaTraits { return p.Describe().GetMeta() },
		Adopt: func() { g.logged("stopping the meta plugin from before the migration", g.adoptMeta(p)) },
		Drop:  func() { g.logged("stopping a meta plugin that no migration needs any more", g.host.Stop(p)) }}, nil
}

// stageMeta starts another meta plugin next to the one in use, supervised in the same way. It runs until the node ends or host.Stop is
// called; adoptMeta makes it the plugin in use.
func (g *Gateway) stageMeta(ctx context.Context, c *config.Config, name string, block config.PluginConfig) (*pluginhost.Plugin, error) {
	return g.host.Run(ctx, pluginSpec(c, pluginv1.Kind_KIND_META, name, block))
}

// adoptMeta makes a staged plugin the node's meta plugin and stops the previous one. core/meta must already be calling the staged one. The
// configuration file belongs to the operator and is not changed: a reload compares it with what is adopted here.
func (g *Gateway) adoptMeta(p *pluginhost.Plugin) error {
	g.metaMu.Lock()
	before := g.metaPlugin
	g.metaPlugin = p
	g.metaMu.Unlock()
	spec := p.Spec()
	g.reloads.apply(func(c *config.Config) {
		c.Meta.Plugin, c.Meta.Config = spec.Name, spec.Config
		c.Meta.Next = config.MetaNext{Plugin: spec.Name, Config: spec.Config}
	})
	g.warnOfMeta(p)
	if before == p {
		return errors.New("the plugin serves already")
	}
	return g.host.Stop(before)
}

// followed translates a configuration that was read again for a node that has followed a migration. As long as the operator leaves
// meta.next unchanged, meta in the file still names the old backend, so the applied meta stays.
func followed(applied, next *config.Config) *config.Config {
	n := applied.Meta.Next
	if n.Plugin == "" || n.Plugin != applied.Meta.Plugin || next.Meta.Next.Plugin != n.Plugin || !sameBlock(n.Config, applied.Meta.Config) ||
		!sameBlock(next.Meta.Next.Config, n.Config) {
		return next
	}
	out := *next
	out.Meta.Plugin, out.Meta.Config = applied.Meta.Plugin, applied.Meta.Config
	return &out
}

// notStaged returns the plugins, except one that a migration has started and this node does not use yet: the health of such a plugin does
// not affect the node's health.
func (g *Gateway) notStaged() []*pluginhost.Plugin {
	present := g.presentMeta()
	var out []*pluginhost.Plugin
	for _, p := range g.host.Plugins() {
		if p == present || p.Info().Kind != "meta" {
			out = append(out, p)
		}
	}
	return out
}
