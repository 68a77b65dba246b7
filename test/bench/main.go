// Command bench measures whole brokers from outside, over MQTT, and writes what it measured into docs/performance.md: tables, plots, and
// docs/performance/results.json. Machines are noisy and only ratios of one run are meaningful, so what is compared is measured in turns:
//
//   - lmqgate on the local store beside mosquitto, mochi, NATS and HiveMQ CE (turns.go), with the scenarios of "lmqgate bench" and held
//     idle connections;
//   - lmqgate on RocketMQ beside rocketmq-client-go's bare producer (stores.go), and the same loads on the local store.
//
// A broker that is not installed is left out with a line that says how to install it. Everything runs on loopback, for a bounded time.
//
//	make bench
//	make bench SCENARIOS=p2p,pairs ROUNDS=7
//	go run ./test/bench -bin bin -scenarios rocketmq -only "256 publishers" -seconds 5
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/docs/performance"
)

// options are the command's options.
type options struct {
	bin, peers, version, only, results string
	scenarios                          []string
	length                             time.Duration
	rounds, idle                       int
	pageOnly                           bool
}

// Names in -scenarios beside those of performance.Kinds: the loads of load.go on each store.
const (
	onLocal    = "local"
	onRocketMQ = "rocketmq"
)

// scenarioNames lists what -scenarios may name.
func scenarioNames() []string {
	var out []string
	for _, k := range performance.Kinds() {
		out = append(out, k.Name)
	}
	return append(out, onLocal, onRocketMQ)
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory with lmqgate and plugins/, as make build leaves it")
	flag.StringVar(&o.peers, "peers", ".cache/peers", "directory with brokers of other makes, as make peers leaves it")
	flag.StringVar(&o.version, "rocketmq", "5.4.0", "RocketMQ version")
	seconds := flag.Float64("seconds", 2, "length of one measurement, 1 to 60")
	flag.IntVar(&o.rounds, "rounds", 5, "measurements of each broker, in turns; the medians count; 1 to 20")
	flag.IntVar(&o.idle, "idle", 2000, "idle connections, 100 to 20000")
	names := flag.String("scenarios", "", "what is measured, separated by commas; empty for all: "+strings.Join(scenarioNames(), ","))
	flag.StringVar(&o.only, "only", "", "of local and rocketmq, only loads whose name contains this, for instance \"256 publishers\"")
	flag.StringVar(&o.results, "results", "docs/performance", "directory of results.json and the plots; the page lies beside it")
	flag.BoolVar(&o.pageOnly, "page-only", false, "measure nothing; write the page and the plots from results.json")
	flag.Parse()
	o.length = time.Duration(*seconds * float64(time.Second))
	o.scenarios = scenarioNames()
	if *names != "" {
		o.scenarios = strings.Split(*names, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o *options) check() error {
	if o.length < time.Second || o.length > time.Minute || o.rounds < 1 || o.rounds > 20 || o.idle < 100 || o.idle > 20_000 {
		return fmt.Errorf("seconds is %v, rounds %d and idle %d; choose 1 to 60, 1 to 20, and 100 to 20000", o.length.Seconds(), o.rounds, o.idle)
	}
	for _, name := range o.scenarios {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(scenarioNames(), ", "))
		}
	}
	loads = slices.DeleteFunc(loads, func(l load) bool { return !strings.Contains(l.name, o.only) })
	if len(loads) == 0 {
		return errors.New("no load has such a name")
	}
	return nil
}

func run(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	results, err := performance.Load(o.results)
	if err != nil {
		return err
	}
	if o.pageOnly {
		return performance.Write(o.results, results)
	}
	// Each case is written when it is measured, so that what was measured stays if a later one fails.
	keep := func(c performance.Case) error {
		fmt.Println()
		if err := performance.Print(os.Stdout, c); err != nil {
			return err
		}
		results.Put(c)
		return performance.Write(o.results, results)
	}
	f := &fleet{makers: makers(o.bin, o.peers), missing: make(map[string]bool)}
	for _, k := range performance.Kinds() {
		if !slices.Contains(o.scenarios, k.Name) {
			continue
		}
		c, err := f.inTurns(ctx, k, o)
		if err != nil {
			return err
		}
		if err := keep(c); err != nil {
			return err
		}
	}
	if slices.Contains(o.scenarios, onLocal) {
		if err := local(ctx, o, keep); err != nil {
			return fmt.Errorf("local store: %w", err)
		}
	}
	if slices.Contains(o.scenarios, onRocketMQ) {
		if err := rocketmq(ctx, o, keep); err != nil {
			return fmt.Errorf("RocketMQ %s: %w", o.version, err)
		}
	}
	return nil
}
