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

// stage starts what a migration of the metadata moves to: meta.next of the configuration file as it is now, so that a plan needs
// no restart. Where the operator has made it meta already, that is taken.
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

// stageMeta starts another meta plugin beside the one that serves, supervised like it. It ends with the node, or with host.Stop;
// adoptMeta puts it in the other's place.
func (g *Gateway) stageMeta(ctx context.Context, c *config.Config, name string, block config.PluginConfig) (*pluginhost.Plugin, error) {
	return g.host.Run(ctx, pluginSpec(c, pluginv1.Kind_KIND_META, name, block))
}

// adoptMeta makes a staged plugin the node's meta plugin, and stops the one before. core/meta must call the staged one already.
// The configuration file is the operator's: a reload compares with what is adopted here.
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

// followed turns a configuration that was read again into what it means on a node that has followed a migration: as long as the
// operator has left meta.next as it was, meta is what was moved from.
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

// notStaged are the plugins but for one that a migration has started and this node does not use yet: how that one is, is no matter
// of the node's health.
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
