// Command bench measures a whole gateway process from outside, over MQTT: throughput and latency, QoS 1, on the local store and on
// RocketMQ. On RocketMQ each figure is compared with rocketmq-client-go's bare producer, measured alternately in the same run, because
// machines are noisy and only such ratios are meaningful. Everything runs on loopback, for a bounded time.
//
//	make bench
//	go run ./test/bench -bin bin -rocketmq 5.4.0 -seconds 5 -rounds 3
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
)

func main() {
	bin := flag.String("bin", "bin", "directory with lmqgate and plugins/, as make build leaves it")
	version := flag.String("rocketmq", "5.4.0", "RocketMQ version; empty measures the local store only")
	seconds := flag.Float64("seconds", 5, "length of one measurement, 1 to 60")
	rounds := flag.Int("rounds", 3, "measurements of each kind, in turn; the medians are printed")
	only := flag.String("only", "", "measure only loads whose name contains this, for instance \"256 publishers\"")
	skipLocal := flag.Bool("skip-local", false, "leave the local store out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	loads = slices.DeleteFunc(loads, func(l load) bool { return !strings.Contains(l.name, *only) })
	if *skipLocal {
		local = func(context.Context, string, time.Duration, int) error { return nil }
	}
	if err := run(ctx, *bin, *version, time.Duration(*seconds*float64(time.Second)), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, version string, length time.Duration, rounds int) error {
	if length < time.Second || length > time.Minute || rounds < 1 || rounds > 20 {
		return fmt.Errorf("seconds is %v and rounds %d; choose 1 to 60 and 1 to 20", length.Seconds(), rounds)
	}
	if len(loads) == 0 {
		return errors.New("no load has such a name")
	}
	if err := local(ctx, bin, length, rounds); err != nil {
		return fmt.Errorf("local store: %w", err)
	}
	if version == "" {
		return nil
	}
	if err := rocketmq(ctx, bin, version, length, rounds); err != nil {
		return fmt.Errorf("RocketMQ %s: %w", version, err)
	}
	return nil
}

// median returns the median of a figure over the rounds.
func median[T any](rounds []T, of func(T) float64) float64 {
	all := make([]float64, len(rounds))
	for i, r := range rounds {
		all[i] = of(r)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// printLoad prints the medians of a load.
func printLoad(name string, rounds []result) {
	fmt.Printf("%-44s acked %8.0f/s  delivered %8.0f/s  p50 %8.2f ms  p99 %8.2f ms  missing %.0f\n", name,
		median(rounds, func(r result) float64 { return r.acked }), median(rounds, func(r result) float64 { return r.delivered }),
		median(rounds, func(r result) float64 { return r.p50 }), median(rounds, func(r result) float64 { return r.p99 }),
		median(rounds, func(r result) float64 { return float64(r.missing) }))
}

var local = func(ctx context.Context, bin string, length time.Duration, rounds int) error {
	g, err := start(ctx, bin, localConfig)
	if err != nil {
		return err
	}
	defer g.stop()
	fmt.Println("local store, sync: always")
	g.printMemory()
	for _, l := range loads {
		var all []result
		for i := range rounds {
			r, err := g.load(ctx, l, i, length)
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		printLoad(l.name, all)
	}
	return nil
}

// warmUp is how long the broker is loaded before the measurement.
const warmUp = 4 * time.Second

func rocketmq(ctx context.Context, bin, version string, length time.Duration, rounds int) error {
	c, err := startCluster(ctx, version)
	if err != nil {
		return err
	}
	defer c.Stop()
	g, err := start(ctx, bin, rocketmqConfig(c.Namesrv()))
	if err != nil {
		return err
	}
	defer g.stop()
	fmt.Printf("RocketMQ %s, one broker, on the same machine\n", version)
	g.printMemory()
	// A broker that has just started is slow; the first measurement must not suffer from it.
	if _, err := produce(ctx, c, 64, warmUp); err != nil {
		return fmt.Errorf("bare producer: %w", err)
	}
	if _, err := g.load(ctx, load{publishers: 256, window: 1}, rounds, warmUp); err != nil {
		return err
	}
	for _, l := range loads {
		var all []result
		var bare, ratios, delivered, gatewayTime, brokerTime []float64
		for i := range rounds {
			b := 0.0
			if l.bare() {
				if b, err = produce(ctx, c, l.publishers*l.window, length); err != nil {
					return fmt.Errorf("bare producer: %w", err)
				}
			}
			before := [2]float64{processorTime(g.cmd.Process.Pid), processorTime(c.PIDs()...)}
			r, err := g.load(ctx, l, i, length)
			if err != nil {
				return err
			}
			perMessage := 1e6 / (r.acked * length.Seconds())
			gatewayTime = append(gatewayTime, (processorTime(g.cmd.Process.Pid)-before[0])*perMessage)
			brokerTime = append(brokerTime, (processorTime(c.PIDs()...)-before[1])*perMessage)
			all = append(all, r)
			bare, ratios, delivered = append(bare, b), append(ratios, r.acked/b), append(delivered, r.delivered/b)
		}
		printLoad(l.name, all)
		id := func(f float64) float64 { return f }
		fmt.Printf("%-44s gateway %.0f µs, broker %.0f µs\n", "  processor time a message", median(gatewayTime, id), median(brokerTime, id))
		if l.bare() {
			fmt.Printf(
				"%-44s acked %8.0f/s  ratio of acked %.2f, of delivered %.2f\n",
				fmt.Sprintf(
					"  bare producer, %d in flight",
					l.publishers*l.window,
				),
				median(bare, id),
				median(ratios, id),
				median(delivered, id),
			)
		}
	}
	return nil
}
