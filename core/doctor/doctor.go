package doctor

import (
	"context"
	"strings"
	"sync"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/remoting"
)

// Levels of a Finding.
const (
	OK      = "ok"
	Warning = "warning" // it works, but not well or not for long
	Fault   = "fault"   // the gateway does not start or does not serve
)

// Finding is one result of a check.
type Finding struct {
	Level string `json:"level"`
	// Area is the area of the check: files, certificates, listeners, data, machine, plugins, services or rocketmq.
	Area string `json:"area"`
	// What says what is wrong and where; Remedy says what to do, and is empty for OK.
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Options say what to check.
type Options struct {
	Config *config.Config
	// Running says that a gateway with this configuration runs on this machine, so its addresses are in use.
	Running bool
	// Plugins checks the configured plugins; nil skips this check.
	Plugins func(context.Context) []Finding
	// RocketMQ is a client for the configured cluster, and ValidTopic distinguishes users' topics from others; nil if the store is not
	// RocketMQ.
	RocketMQ   *remoting.Client
	ValidTopic func(name string) bool
	// Machine describes the machine; nil: this machine.
	Machine *Machine
}

// check is one area.
type check struct {
	area string
	// well is the text of the OK finding if nothing is wrong.
	well string
	run  func(context.Context, *Options) []Finding
}

// Run runs every check and returns the findings, in the order of the areas.
func Run(ctx context.Context, o Options) []Finding {
	if o.Machine == nil {
		o.Machine = ThisMachine()
	}
	checks := []check{
		{"files", "nobody else may read the secrets", files},
		{"certificates", "the certificates can be used", certificates},
		{"listeners", "the addresses are free", listeners},
		{"data", "the data directory can be written and has room", data},
		{"machine", "open files, memory and temporary files suffice", machine},
		{"plugins", "the plugins take their configuration", func(ctx context.Context, o *Options) []Finding { return o.Plugins(ctx) }},
		{"services", "the services of the plugins answer", services},
		{"rocketmq", "name servers and brokers answer, with light message queues, and each topic is on each broker", rocketMQ},
	}
	if o.Running {
		checks[2].well = "a gateway with this configuration serves, so its addresses were not tried"
	}
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		if c.area == "plugins" && o.Plugins == nil || c.area == "rocketmq" && o.RocketMQ == nil {
			continue
		}
		all.Go(func() {
			found[i] = c.run(ctx, &o)
			if len(found[i]) == 0 {
				found[i] = []Finding{{Level: OK, What: c.well}}
			}
			for k := range found[i] {
				found[i][k].Area = c.area
			}
		})
	}
	all.Wait()
	var out []Finding
	for _, f := range found {
		out = append(out, f...)
	}
	return out
}

func fault(what, remedy string) Finding   { return Finding{Level: Fault, What: what, Remedy: remedy} }
func warning(what, remedy string) Finding { return Finding{Level: Warning, What: what, Remedy: remedy} }

// FromError converts an error to a fault. If the text has a semicolon, the part after it is the remedy, as in errors of the configuration.
func FromError(text, remedy string) Finding {
	if what, then, ok := strings.Cut(text, "; "); ok {
		return fault(what, then)
	}
	return fault(text, remedy)
}
