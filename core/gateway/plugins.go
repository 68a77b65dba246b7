package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// startPlugins starts the configured plugins and the parts that use them.
func (g *Gateway) startPlugins(ctx context.Context) error {
	host, err := pluginhost.New(pluginhost.Options{Dir: g.cfg.Plugins.Dir, Checksums: g.cfg.Plugins.Checksums, NodeID: g.id,
		DataDir: g.cfg.Node.DataDir, ConfigDir: g.cfg.Dir, StartTimeout: g.cfg.Plugins.StartTimeout,
		MemoryLimit: uint64(g.cfg.Plugins.MemoryLimit),
		Log:         g.log, Registerer: g.registry})
	if err != nil {
		return err
	}
	g.host = host
	g.reloads.applied = g.cfg
	g.push(func(context.Context) { g.logged("stopping plugins", host.Close()) })
	specs := []pluginhost.Spec{g.develop.apply("meta", metaSpec(g.cfg))}
	if !g.cfg.Auth.Anonymous() {
		specs = append([]pluginhost.Spec{g.develop.apply("auth", authSpec(g.cfg))}, specs...)
	} else if at := g.develop.Attach["auth"]; at != "" {
		return fmt.Errorf("auth.plugin is none, so nothing is attached to at %s; name the plugin in auth.plugin", at)
	}
	plugins, err := host.RunAll(ctx, specs...)
	if err != nil {
		return err
	}
	if g.cfg.Auth.Anonymous() {
		g.authority = auth.Anonymous()
	} else {
		g.useAuth(plugins[0])
	}
	if err := g.useMeta(plugins[len(plugins)-1]); err != nil {
		return err
	}
	for _, p := range host.Plugins() {
		if info := p.Info(); info.Warning != "" {
			g.log.Warn("PLUGIN IN DEVELOPMENT: "+info.Warning, "plugin", info.Name, "kind", info.Kind, "path", info.Path)
		}
	}
	return nil
}

// useAuth uses a plugin for authentication and authorization.
func (g *Gateway) useAuth(p *pluginhost.Plugin) {
	a := auth.New(auth.Options{Client: p.Auth(), PluginName: p.Name, Log: g.log, Registerer: g.registry,
		Traits: func() *pluginv1.AuthTraits { return p.Describe().GetAuth() }})
	background, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(background) }()
	g.push(func(context.Context) { stop(); <-done })
	g.authPlugin, g.auth, g.authority = p, a, a
}

// useMeta uses a plugin for the metadata.
func (g *Gateway) useMeta(p *pluginhost.Plugin) (err error) {
	g.metaPlugin = p
	g.meta, err = meta.New(meta.Options{Client: p.Meta(), Traits: func() *pluginv1.MetaTraits { return p.Describe().GetMeta() },
		NodeID: g.id, NodeInfo: map[string]string{"version": g.version}, MaxFilters: g.cfg.Topics.MaxFilters,
		MaxRetainedBytes: g.memory.retained, Quotas: g.quotas(g.cfg),
		HeartbeatInterval: min(5*time.Second, g.cfg.Node.Lease/2), LostAfter: 20 * time.Second,
		Stage: g.stage,
		Log:   g.log, Registerer: g.registry})
	if err != nil {
		return err
	}
	g.recordedBans = g.meta
	g.warnOfMeta(p)
	return nil
}

// warnOfMeta logs what a meta plugin is not suitable for.
func (g *Gateway) warnOfMeta(p *pluginhost.Plugin) {
	if !p.Describe().GetMeta().GetShared() && g.cfg.Store.Type != config.StoreLocal {
		g.log.Warn("the meta plugin keeps metadata for one node only; do not add a second node to this RocketMQ cluster", "plugin", p.Name())
	}
}

// authSpec returns the Spec of the configured auth plugin.
func authSpec(c *config.Config) pluginhost.Spec {
	return pluginSpec(c, pluginv1.Kind_KIND_AUTH, c.Auth.Plugin, c.Auth.Config)
}

// metaSpec returns the Spec of the configured meta plugin.
func metaSpec(c *config.Config) pluginhost.Spec {
	return pluginSpec(c, pluginv1.Kind_KIND_META, c.Meta.Plugin, c.Meta.Config)
}

// pluginSpec returns the Spec of a plugin with its configuration block.
func pluginSpec(c *config.Config, kind pluginv1.Kind, name string, block config.PluginConfig) pluginhost.Spec {
	return pluginhost.Spec{Name: name, Kind: kind, Config: block, Dir: c.Plugins.Dir,
		Checksum: c.Plugins.Checksums[name], StartTimeout: c.Plugins.StartTimeout, MemoryLimit: uint64(c.Plugins.MemoryLimit)}
}

// presentMeta returns the meta plugin in use.
func (g *Gateway) presentMeta() *pluginhost.Plugin {
	g.metaMu.Lock()
	defer g.metaMu.Unlock()
	return g.metaPlugin
}
