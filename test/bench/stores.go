package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/docs/performance"
)

// newCase returns an empty case that is measured now.
func newCase(name string, o options) performance.Case {
	return performance.Case{Name: name, Date: time.Now().Format(time.DateOnly), Machine: performance.Machine(),
		Load: performance.LoadAverage(), Seconds: o.length.Seconds()}
}

// round returns a result as one of the rounds of a case.
func (r result) round() performance.Round {
	return performance.Round{Acked: r.acked, Rate: r.delivered, P50: r.p50, P99: r.p99, Missing: r.missing}
}

// local measures the loads on the local store.
func local(ctx context.Context, o options, keep func(performance.Case) error) error {
	g, err := start(ctx, o.bin, localConfig)
	if err != nil {
		return err
	}
	defer g.stop()
	g.printMemory()
	for _, l := range loads {
		c := newCase(performance.LocalCase+l.name, o)
		own := performance.Broker{Name: performance.OnLocal}
		for i := range o.rounds {
			r, err := g.load(ctx, l, i, o.length)
			if err != nil {
				return err
			}
			own.Rounds = append(own.Rounds, r.round())
		}
		c.Brokers = append(c.Brokers, own)
		if err := keep(c); err != nil {
			return err
		}
	}
	return nil
}

// warmUp is how long the broker is loaded before the measurement.
const warmUp = 4 * time.Second

// rocketmq measures the loads on RocketMQ, in turns with the bare producer where it can do the same.
func rocketmq(ctx context.Context, o options, keep func(performance.Case) error) error {
	c, err := startCluster(ctx, o.version)
	if err != nil {
		return err
	}
	defer c.Stop()
	g, err := start(ctx, o.bin, rocketmqConfig(c.Namesrv()))
	if err != nil {
		return err
	}
	defer g.stop()
	g.printMemory()
	// A broker that has just started is slow; the first measurement must not suffer from it.
	if _, err := produce(ctx, c, 64, warmUp); err != nil {
		return fmt.Errorf("bare producer: %w", err)
	}
	if _, err := g.load(ctx, load{publishers: 256, window: 1}, o.rounds, warmUp); err != nil {
		return err
	}
	for _, l := range loads {
		measured := newCase(performance.RocketMQCase+l.name, o)
		own := performance.Broker{Name: performance.OnRocketMQ, Version: o.version}
		bare := performance.Broker{Name: performance.BareProducer}
		for i := range o.rounds {
			if l.bare() {
				b, err := produce(ctx, c, l.publishers*l.window, o.length)
				if err != nil {
					return fmt.Errorf("bare producer: %w", err)
				}
				bare.Rounds = append(bare.Rounds, performance.Round{Acked: b})
			}
			before := [2]float64{processorTime(g.cmd.Process.Pid), processorTime(c.PIDs()...)}
			r, err := g.load(ctx, l, i, o.length)
			if err != nil {
				return err
			}
			perMessage := 1e6 / (r.acked * o.length.Seconds())
			round := r.round()
			round.GatewayMicros = (processorTime(g.cmd.Process.Pid) - before[0]) * perMessage
			round.StoreMicros = (processorTime(c.PIDs()...) - before[1]) * perMessage
			own.Rounds = append(own.Rounds, round)
		}
		measured.Brokers = append(measured.Brokers, own)
		if len(bare.Rounds) > 0 {
			measured.Brokers = append(measured.Brokers, bare)
		}
		if err := keep(measured); err != nil {
			return err
		}
	}
	return nil
}
