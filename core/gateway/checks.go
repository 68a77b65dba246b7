package gateway

import (
	"context"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/doctor"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/remoting"
)

// startChecks starts what lmqgate doctor checks, for as long as the node runs: the log and /readyz tell what it finds. It does not check
// plugins, which report their health themselves.
func (g *Gateway) startChecks() error {
	o := doctor.Options{ValidTopic: func(name string) bool { return g.store.ValidTopic(name) == nil }}
	if g.cfg.Store.Type == config.StoreRocketMQ {
		settings, err := RocketMQ(g.cfg.Store.RocketMQ)
		if err != nil {
			return err
		}
		o.RocketMQ = remoting.New(settings.Remoting())
		o.Disks = brokerDisks(g.registry)
		g.push(func(context.Context) { g.logged("closing the connections of the checks", o.RocketMQ.Close()) })
	}
	g.checks = doctor.Start(func() doctor.Options {
		now := o
		now.Config = g.reloads.present()
		return now
	}, g.log)
	g.push(g.checks.Stop)
	return nil
}

// notice returns what /readyz tells beside the state: bounds that are nearly reached, and findings. What is wrong with secrets is only in
// the log, because /readyz is open. A finding does not make the node unready: whether it serves is what healthy reports.
func (g *Gateway) notice() string {
	var b strings.Builder
	for _, f := range g.fills() {
		if f.Ratio() >= meta.FillWarn {
			fmt.Fprintf(&b, "nearly full: %s, %d of %d\n", f.Resource, f.Used, f.Max)
		}
	}
	for _, f := range g.checks.Findings() {
		if f.Area != "files" {
			line := fmt.Sprintf("%s: %s: %s; %s", f.Level, f.Area, f.What, f.Remedy)
			b.WriteString(strings.ReplaceAll(line, "\n", " ") + "\n")
		}
	}
	return b.String()
}
