package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/pluginhost"
)

const (
	// firstWait is how long a start waits before it logs what it waits for; nextWait is the interval between further log lines.
	firstWait = 2 * time.Second
	nextWait  = 5 * time.Second
)

// await waits until metadata and store answer and the plugins report that they can work: once a node has announced that it is ready, the
// next probe must not find it unready.
func (g *Gateway) await(ctx context.Context) error {
	began, said := time.Now(), time.Now().Add(firstWait-nextWait)
	for {
		probe, cancel := context.WithTimeout(ctx, 2*time.Second)
		waits := g.unreachable(probe)
		cancel()
		if len(waits) == 0 {
			return nil
		}
		if time.Since(said) >= nextWait {
			g.log.Warn("waiting before clients are accepted", "for", strings.Join(waits, "; "), "waited",
				time.Since(began).Round(time.Second).String())
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitingFor returns what the node waits for before it accepts clients.
func (g *Gateway) waitingFor() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if waits := g.unreachable(ctx); len(waits) > 0 {
		return strings.Join(waits, "; ")
	}
	return "nothing"
}

// unreachable lists the services that do not answer, each with its address, the configuration key of the address, and the error.
func (g *Gateway) unreachable(ctx context.Context) (waits []string) {
	if err := g.store.Ready(ctx); err != nil {
		waits = append(waits, g.storePlace()+": "+because(err))
	}
	metadata := g.meta.Ready()
	for _, p := range g.notStaged() {
		err := p.Healthy()
		what, section := "auth plugin ", "auth.config"
		if p == g.presentMeta() {
			what, section = "metadata of ", "meta.config"
			if err == nil {
				err = metadata
			}
			metadata = nil
		}
		if err != nil {
			waits = append(waits, what+pluginPlace(g.cfg, p, section)+": "+because(err))
		}
	}
	if metadata != nil { // its plugin is about to be replaced
		waits = append(waits, "metadata: "+because(metadata))
	}
	return waits
}

// storePlace returns where the store is, with the configuration key that says so.
func (g *Gateway) storePlace() string {
	if g.cfg.Store.Type == config.StoreLocal {
		return "the local store in " + g.cfg.Store.Local.Path + " (store.local.path)"
	}
	return "RocketMQ by the name servers " + strings.Join(g.cfg.Store.RocketMQ.Namesrv, ", ") + " (store.rocketmq.namesrv)"
}

// pluginPlace returns where a plugin's service is, as far as its configuration block tells, with the configuration key that says so.
func pluginPlace(c *config.Config, p *pluginhost.Plugin, section string) string {
	name := p.Name()
	key, addresses := config.PluginConfig(p.Spec().Config).Addresses()
	if key == "" {
		return name + " (" + section + ")"
	}
	where := make([]string, len(addresses))
	for i, a := range addresses {
		where[i] = a.Shown
	}
	if key = section + "." + key; section == "meta.config" && !c.Given(key) {
		key = "store.rocketmq.namesrv" // the only address with a default
	}
	return name + " at " + strings.Join(where, ", ") + " (" + key + ")"
}

// because returns the cause of an error on one line, without the steps that led to it.
func because(err error) string {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Error()
	}
	text := oneLine(err)
	for _, step := range []string{"metadata unavailable: ", "store unavailable: ", "RocketMQ is not ready: ",
		"remoting connection failed: ", "read lmqgate.migration \"plan\": "} {
		text = strings.ReplaceAll(text, step, "")
	}
	if rest, ok := strings.CutPrefix(text, "plugin "); ok { // the plugin is named before
		_, text, _ = strings.Cut(rest, ": ")
	}
	if text == "" {
		return fmt.Sprint(err)
	}
	return text
}
