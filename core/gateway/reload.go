package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// reloadTimeout bounds a reload, not counting the time that its two plugins may take to start.
const reloadTimeout = 2 * time.Minute

// reloads is the state shared by reloads of a node.
type reloads struct {
	// one is held by the reload under way.
	one sync.Mutex

	mu sync.Mutex
	// applied is the configuration in use: that of the start, with everything that reloads have applied since.
	applied *config.Config
}

func (r *reloads) present() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// apply changes a copy of the configuration in use, and puts the copy into use.
func (r *reloads) apply(change func(*config.Config)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.applied
	change(&next)
	r.applied = &next
}

// Reload reads the configuration again and applies the log level and the limits. It swaps the plugins whose binary, configuration or name
// has changed, while clients stay connected. A name that is not empty selects one plugin (by its present or its new name), which is swapped
// in any case; nothing else is applied then.
//
// A different or reconfigured meta plugin takes over only if it holds the same content as the one in use; force skips that check. Other
// changes in the file are listed and not applied. The error, one line, says which plugins were not swapped and why; the others were swapped
// even so.
func (g *Gateway) Reload(ctx context.Context, name string, force bool) (admin.Reloaded, error) {
	if !g.reloads.one.TryLock() {
		return admin.Reloaded{}, admin.Conflict("another reload is under way; try again in a moment")
	}
	defer g.reloads.one.Unlock()
	if g.reread == nil {
		return admin.Reloaded{}, admin.Conflict("this gateway has no configuration to read again")
	}
	next, err := g.reread()
	if err != nil {
		return admin.Reloaded{}, admin.Conflict("the configuration cannot be used and nothing was changed: %s", oneLine(err))
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout+2*next.Plugins.StartTimeout)
	defer cancel()
	applied := g.reloads.present()
	next = followed(applied, next)
	out := admin.Reloaded{NotApplied: notApplied(applied, next)}
	if name == "" {
		out.Applied = g.applyLive(applied, next)
	}
	var failed []error
	found := name == ""
	for _, place := range g.places(applied, next) {
		if name != "" && !slices.Contains([]string{place.from, place.spec.Name, place.kind}, name) {
			continue
		}
		found = true
		done, err := g.swap(ctx, place, name != "", force)
		if err != nil {
			failed = append(failed, err)
			done.Error = err.Error()
		}
		out.Plugins = append(out.Plugins, done)
	}
	if !found {
		return admin.Reloaded{}, fmt.Errorf("%w: neither the gateway nor its configuration has a plugin %q; lmqgate plugin list shows them", admin.ErrNotFound, name)
	}
	if len(failed) > 0 {
		return out, admin.Conflict("%s", oneLine(errors.Join(failed...)))
	}
	return out, nil
}

// notApplied lists the changed keys that a reload does not apply.
func notApplied(applied, next *config.Config) []string {
	return slices.DeleteFunc(config.Differences(applied, next), func(key string) bool {
		return isLive(key) || slices.Contains([]string{"auth.plugin", "auth.config", "meta.plugin", "meta.config", "meta.next.plugin",
			"meta.next.config",
			"plugins.dir", "plugins.start_timeout", "plugins.checksums", "plugins.memory_limit"}, key)
	})
}

// place is a plugin of the node, and the one that the configuration wants instead.
type place struct {
	kind   string
	plugin *pluginhost.Plugin // nil if there is none
	from   string             // the name of the running plugin
	spec   pluginhost.Spec
	// content: the two plugins must hold the same content.
	content bool
	applied func(*config.Config)
	swapped func()
}

func (g *Gateway) places(applied, next *config.Config) []place {
	current := g.presentMeta()
	sameDirectory := func(c *config.Config) { c.Plugins = next.Plugins }
	a := place{kind: "auth", plugin: g.authPlugin, from: applied.Auth.Plugin, spec: g.develop.apply("auth", authSpec(next)),
		applied: func(c *config.Config) { c.Auth = next.Auth; sameDirectory(c) }}
	if g.auth != nil {
		a.swapped = g.auth.Swapped
	}
	m := place{kind: "meta", plugin: current, from: applied.Meta.Plugin, spec: g.develop.apply("meta", metaSpec(next)), swapped: g.meta.Switched,
		applied: func(c *config.Config) {
			c.Meta.Plugin, c.Meta.Config = next.Meta.Plugin, next.Meta.Config
			sameDirectory(c)
		}}
	m.content = m.from != m.spec.Name || !sameBlock(current.Spec().Config, m.spec.Config)
	return []place{a, m}
}

// swap brings one place up to date. always: swap it even if nothing has changed.
func (g *Gateway) swap(ctx context.Context, p place, always, force bool) (admin.ReloadedPlugin, error) {
	out := admin.ReloadedPlugin{Kind: p.kind, From: p.from, Name: p.spec.Name, Result: admin.Unchanged}
	if p.plugin == nil || p.spec.Name == config.AuthNone {
		if p.from == p.spec.Name {
			return out, nil
		}
		return out, fmt.Errorf("auth.plugin changes from %s to %s: a reload cannot turn anonymous access on or off; restart the gateway", p.from, p.spec.Name)
	}
	changed, err := p.plugin.Differs(p.spec)
	if err != nil {
		return out, err
	}
	if !changed && !always {
		return out, nil
	}
	o := pluginhost.Switching{Switched: p.swapped}
	if p.content && !force {
		o.Content = meta.Content
	}
	if err := p.plugin.Swap(ctx, p.spec, o); err != nil {
		if o.Content != nil && (errors.Is(err, pluginhost.ErrContent) || errors.Is(err, pluginhost.ErrNotCompared)) {
			err = fmt.Errorf("%w; bring the metadata over first (lmqgate meta migrate), or give --force to go on without it", err)
		}
		return out, err
	}
	g.reloads.apply(p.applied)
	if p.spec.Kind == pluginv1.Kind_KIND_META {
		g.warnOfMeta(p.plugin)
	}
	info := p.plugin.Info()
	out.Result, out.Version, out.Checksum, out.PID = admin.Swapped, info.Version, info.Checksum, info.PID
	return out, nil
}

// sameBlock compares two configuration blocks by their encodings.
func sameBlock(a, b map[string]any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// oneLine formats a multi-line error on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
