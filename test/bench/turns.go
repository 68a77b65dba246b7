package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/docs/performance"
	"github.com/lmqgate/lmqgate/internal/mqttload"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// fleet is the brokers that take turns.
type fleet struct {
	makers  []maker
	missing map[string]bool // makes that were found missing, which is told once
}

// startAll starts one broker of each make that is there, for a case.
func (f *fleet) startAll(ctx context.Context, k performance.Kind) ([]*broker, error) {
	var all []*broker
	for _, m := range f.makers {
		if f.missing[m.name] || k.OneSync && m.name == performance.LmqSynced {
			continue
		}
		b, err := m.start(ctx)
		if missing, ok := errors.AsType[errMissing](err); ok {
			fmt.Printf("%s is left out: %v\n", m.name, missing)
			f.missing[m.name] = true
			continue
		}
		if err != nil {
			stopAll(all)
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func stopAll(all []*broker) {
	for _, b := range all {
		b.stop()
	}
}

// inTurns measures a case on each broker, round by round.
func (f *fleet) inTurns(ctx context.Context, k performance.Kind, o options) (performance.Case, error) {
	c := newCase(k.Name, o)
	if k.Name == "idle" {
		c.Seconds = 0
		return c, f.idle(ctx, k, o, &c)
	}
	s, ok := mqttload.Find(k.Scenario)
	if !ok {
		return c, fmt.Errorf("there is no scenario %q", k.Scenario)
	}
	all, err := f.startAll(ctx, k)
	if err != nil {
		return c, err
	}
	defer stopAll(all)
	players := make([]*player, 0, len(all))
	for _, b := range all {
		players = append(players, &player{broker: b, measured: performance.Broker{Name: b.name, Version: b.version}})
	}
	for round := -1; round < o.rounds; round++ { // the first is the warm-up
		for turn := range players {
			p := players[(turn+max(0, round))%len(players)] // so that nobody always plays after the same broker
			if p.failed {
				continue
			}
			if err := p.play(ctx, s, k, o.length, round); err != nil {
				if ctx.Err() != nil || p.broker.own {
					return c, fmt.Errorf("%s on %s: %w", k.Name, p.broker.name, err)
				}
				fmt.Printf("%s is left out of %s: %v\n", p.broker.name, k.Name, err)
				p.failed = true
			}
		}
	}
	for _, p := range players {
		if !p.failed {
			c.Brokers = append(c.Brokers, p.measured)
		}
	}
	return c, nil
}

// player is a broker and what it did so far in a case.
type player struct {
	broker   *broker
	measured performance.Broker
	failed   bool
}

// patience bounds one round of one broker.
const patience = 90 * time.Second

// play plays one round; a negative one is the warm-up.
func (p *player) play(ctx context.Context, s mqttload.Scenario, k performance.Kind, length time.Duration, round int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plan := k.PlanFor(length)
	if round < 0 {
		plan.Messages, plan.Duration, plan.Warmup = 0, p.broker.warmUp, -1
	}
	r, err := mqttload.Run(ctx, s, plan, p.broker.target, nil)
	if err != nil || round < 0 {
		return err
	}
	figures := performance.Round{Acked: r.PublishRate, Rate: r.Rate, Missing: r.Missing}
	if r.Delivery != nil {
		figures.P50, figures.P99 = r.Delivery.P50, r.Delivery.P99
	}
	p.measured.Rounds = append(p.measured.Rounds, figures)
	return nil
}

// settle is how long idle connections are left alone before memory is read, for the garbage of the connects to be released.
const settle = 8 * time.Second

// idle measures the resident memory of idle connections. Memory does not shrink to what it was, so each round has new brokers; all of them
// settle at once.
func (f *fleet) idle(ctx context.Context, k performance.Kind, o options, c *performance.Case) error {
	failed := make(map[string]bool)
	for round := range o.rounds {
		if err := f.idleRound(ctx, k, o, round, c, failed); err != nil {
			return err
		}
	}
	c.Brokers = slices.DeleteFunc(c.Brokers, func(b performance.Broker) bool { return failed[b.Name] })
	return nil
}

func (f *fleet) idleRound(
	ctx context.Context, k performance.Kind, o options, round int, c *performance.Case, failed map[string]bool,
) error {
	all, err := f.startAll(ctx, k)
	if err != nil {
		return err
	}
	defer stopAll(all)
	if round == 0 {
		for _, b := range all {
			c.Brokers = append(c.Brokers, performance.Broker{Name: b.name, Version: b.version})
		}
	}
	if err := wait.For(ctx, settle/2); err != nil { // memory of the start is released
		return err
	}
	before := make([]float64, len(all))
	for i, b := range all {
		if failed[b.name] {
			continue
		}
		before[i] = memory(b.pid)
		release, err := mqttload.Hold(ctx, b.target, o.idle, "bench")
		switch {
		case err == nil:
			defer release()
		case ctx.Err() != nil || b.own:
			return fmt.Errorf("idle connections on %s: %w", b.name, err)
		default:
			fmt.Printf("%s is left out of idle: %v\n", b.name, err)
			failed[b.name] = true
		}
	}
	if err := wait.For(ctx, settle); err != nil {
		return err
	}
	for i, b := range all {
		kib := (memory(b.pid) - before[i]) * 1024 / float64(o.idle)
		c.Brokers[i].Rounds = append(c.Brokers[i].Rounds, performance.Round{KiB: kib})
	}
	return nil
}
