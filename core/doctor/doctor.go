package doctor

import (
	"cmp"
	"context"
	"slices"
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
	// about names what is wrong where What has a number that changes while the fault stays.
	about string
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
	// Disks is told after each round how full the disks of RocketMQ's brokers are, from 0 to 1 by broker, without brokers that do not tell.
	// nil: nobody wants to know.
	Disks func(map[string]float64)
	// Machine describes the machine; nil: this machine.
	Machine *Machine
}

// check is one area.
type check struct {
	area string
	// well is the text of the OK finding if nothing is wrong.
	well string
	// afar says that the check asks other machines.
	afar bool
	run  func(context.Context, *Options) []Finding
}

// complete sets what the caller left out.
func (o *Options) complete() {
	if o.Machine == nil {
		o.Machine = ThisMachine()
	}
}

// checks returns the checks that the options permit, in the order of their findings.
func (o *Options) checks() []check {
	addresses := "the addresses are free"
	if o.Running {
		addresses = "a gateway with this configuration serves, so its addresses were not tried"
	}
	checks := []check{
		{"files", "nobody else may read the secrets", false, files},
		{"certificates", "the certificates can be used", false, certificates},
		{"listeners", addresses, false, listeners},
		{"data", "the data directory can be written and has room" + room(o), false, data},
		{"machine", "open files, memory and temporary files suffice", false, machine},
	}
	if o.Plugins != nil {
		checks = append(checks, check{"plugins", "the plugins take their configuration", false,
			func(ctx context.Context, o *Options) []Finding { return o.Plugins(ctx) }})
	}
	checks = append(checks, check{"services", "the services of the plugins answer", true, services})
	if o.RocketMQ != nil {
		checks = append(checks, check{"rocketmq",
			"name servers and brokers answer, with light message queues, and each topic is on each broker", true, rocketMQ})
	}
	return checks
}

// look runs the check and returns what is wrong, and what is worth telling although it is not.
func (c *check) look(ctx context.Context, o *Options) (wrong, fine []Finding) {
	for _, f := range c.run(ctx, o) {
		if f.Area = c.area; f.Level == OK {
			fine = append(fine, f)
		} else {
			wrong = append(wrong, f)
		}
	}
	return wrong, fine
}

// Run runs every check and returns the findings, in the order of the areas.
func Run(ctx context.Context, o Options) []Finding {
	o.complete()
	checks := o.checks()
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			wrong, fine := c.look(ctx, &o)
			if len(wrong) == 0 {
				wrong = []Finding{{Level: OK, Area: c.area, What: c.well}}
			}
			found[i] = slices.Concat(wrong, fine)
		})
	}
	all.Wait()
	return slices.Concat(found...)
}

func fault(what, remedy string) Finding   { return Finding{Level: Fault, What: what, Remedy: remedy} }
func warning(what, remedy string) Finding { return Finding{Level: Warning, What: what, Remedy: remedy} }

// of names what is wrong. Two findings with one name are the same finding, although the numbers in their texts differ.
func (f Finding) of(about string) Finding {
	f.about = about
	return f
}

// key is the same for findings of the same thing.
func (f Finding) key() string { return f.Level + " " + f.Area + " " + cmp.Or(f.about, f.What) }

// FromError converts an error to a fault. If the text has a semicolon, the part after it is the remedy, as in errors of the configuration.
func FromError(text, remedy string) Finding {
	if what, then, ok := strings.Cut(text, "; "); ok {
		return fault(what, then)
	}
	return fault(text, remedy)
}
