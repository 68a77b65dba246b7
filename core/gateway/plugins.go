package gateway

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// startPlugins starts the plugins that the configuration names, and what speaks to them.
func (g *Gateway) startPlugins(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	host, err := pluginhost.New(pluginhost.Options{Dir: g.cfg.Plugins.Dir, Checksums: g.cfg.Plugins.Checksums, NodeID: g.id,
		DataDir: g.cfg.Node.DataDir, ConfigDir: g.cfg.Dir, MemoryLimit: uint64(g.cfg.Plugins.MemoryLimit),
		Log: g.log, Registerer: g.registry})
	if err != nil {
		return err
	}
	g.host = host
	g.reloads.applied = g.cfg
	g.push(func(context.Context) { g.logged("stopping plugins", host.Close()) })
	if err := g.startAuth(ctx); err != nil {
		return err
	}
	return g.startMeta(ctx)
}

func (g *Gateway) startAuth(ctx context.Context) error {
	if g.cfg.Auth.Anonymous() {
		g.log.Warn("auth.plugin is none: every client is admitted and may do everything")
		g.authority = auth.Anonymous()
		return nil
	}
	p, err := g.host.Run(ctx, authSpec(g.cfg))
	if err != nil {
		return err
	}
	a := auth.New(auth.Options{Client: p.Auth(), PluginName: p.Name, Log: g.log, Registerer: g.registry,
		Traits: func() *pluginv1.AuthTraits { return p.Describe().GetAuth() }})
	background, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(background) }()
	g.push(func(context.Context) { stop(); <-done })
	g.authPlugin, g.auth, g.authority = p, a, a
	return nil
}

func (g *Gateway) startMeta(ctx context.Context) error {
	p, err := g.host.Run(ctx, metaSpec(g.cfg))
	if err != nil {
		return err
	}
	g.metaPlugin = p
	g.meta, err = meta.New(meta.Options{Client: p.Meta(), Traits: func() *pluginv1.MetaTraits { return p.Describe().GetMeta() },
		NodeID: g.id, NodeInfo: map[string]string{"version": g.version}, MaxFilters: g.cfg.Topics.MaxFilters,
		// Groups of clean sessions are in no record. It is asked once the metadata is started, and the hub made before.
		InUse: func(filter string) bool { return g.hub.GroupReads(filter) },
		Log:   g.log, Registerer: g.registry})
	if err != nil {
		return err
	}
	g.warnOfMeta(p)
	return nil
}

// warnOfMeta says what a meta plugin is not fit for.
func (g *Gateway) warnOfMeta(p *pluginhost.Plugin) {
	if !p.Describe().GetMeta().GetShared() && g.cfg.Store.Type != config.StoreLocal {
		g.log.Warn("the meta plugin keeps metadata for one node only; do not add a second node to this RocketMQ cluster", "plugin", p.Name())
	}
}

// authSpec is the auth plugin of a configuration.
func authSpec(c *config.Config) pluginhost.Spec {
	return pluginhost.Spec{Name: c.Auth.Plugin, Kind: pluginv1.Kind_KIND_AUTH, Config: c.Auth.Config, Dir: c.Plugins.Dir,
		Checksum: c.Plugins.Checksums[c.Auth.Plugin], MemoryLimit: uint64(c.Plugins.MemoryLimit)}
}

// metaSpec is the meta plugin of a configuration.
func metaSpec(c *config.Config) pluginhost.Spec {
	return pluginhost.Spec{Name: c.Meta.Plugin, Kind: pluginv1.Kind_KIND_META, Config: c.Meta.Config, Dir: c.Plugins.Dir,
		Checksum: c.Plugins.Checksums[c.Meta.Plugin], MemoryLimit: uint64(c.Plugins.MemoryLimit)}
}

// presentMeta is the meta plugin that serves.
func (g *Gateway) presentMeta() *pluginhost.Plugin {
	g.metaMu.Lock()
	defer g.metaMu.Unlock()
	return g.metaPlugin
}

// stageMeta starts another meta plugin beside the one that serves, supervised like it, for a migration. It ends with the node,
// or with host.Stop; adoptMeta puts it in the other's place.
func (g *Gateway) stageMeta(ctx context.Context, name string, block config.PluginConfig) (*pluginhost.Plugin, error) {
	applied := g.reloads.present()
	return g.host.Run(ctx, pluginhost.Spec{Name: name, Kind: pluginv1.Kind_KIND_META, Config: block, Dir: applied.Plugins.Dir,
		Checksum: applied.Plugins.Checksums[name], MemoryLimit: uint64(applied.Plugins.MemoryLimit)})
}

// adoptMeta makes a staged plugin the node's meta plugin, and stops the one before. core/meta must call the staged one already.
// The configuration file is the operator's: a reload compares with what is adopted here.
func (g *Gateway) adoptMeta(p *pluginhost.Plugin) error {
	g.metaMu.Lock()
	before := g.metaPlugin
	g.metaPlugin = p
	g.metaMu.Unlock()
	spec := p.Spec()
	g.reloads.apply(func(c *config.Config) { c.Meta.Plugin, c.Meta.Config = spec.Name, spec.Config })
	g.warnOfMeta(p)
	if before == p {
		return errors.New("the plugin serves already")
	}
	return g.host.Stop(before)
}
