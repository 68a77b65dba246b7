package pluginhost

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// healthFailures is how many health checks in a row may go unanswered before a process is taken for hung.
const healthFailures = 3

// supervise keeps the plugin alive until ctx ends, and then stops it. It owns the instance. The Host waits for it.
func (p *Plugin) supervise(ctx context.Context, inst *instance) {
	defer p.supervised.Done()
	t := p.host.opts.timing
	pause := t.firstPause
	for {
		why := p.watch(ctx, inst)
		if ctx.Err() != nil {
			p.lose(StateStopped, nil)
			inst.stop()
			return
		}
		p.lose(StateRestarting, why)
		inst.end(discardTimeout)
		if time.Since(inst.started) > t.stableAfter {
			pause = t.firstPause
		}
		p.log.Error("plugin is down; it is started again", "error", why)
		if inst = p.relaunch(ctx, &pause); inst == nil {
			p.lose(StateStopped, nil)
			return
		}
	}
}

// watch returns why the process is no longer good, or when ctx ends.
func (p *Plugin) watch(ctx context.Context, inst *instance) error {
	tick := time.NewTicker(p.host.opts.timing.healthEvery)
	defer tick.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-inst.process.exited:
			return inst.process.ended()
		case <-tick.C:
		}
		err := p.checkHealth(ctx, inst)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures >= healthFailures {
			return fmt.Errorf("it did not answer %d health checks: %s", failures, clip(status.Convert(err).Message()))
		}
	}
}

// checkHealth asks the process how it is. An error means that it did not answer; that it is unwell is an answer.
func (p *Plugin) checkHealth(ctx context.Context, inst *instance) error {
	ctx, cancel := context.WithTimeout(ctx, p.host.opts.timing.healthTimeout)
	defer cancel()
	resp, err := inst.control.Health(ctx, &pluginv1.HealthRequest{})
	if err != nil {
		return err
	}
	unwell := unwellness(p.spec.name, resp)
	p.mu.Lock()
	before := p.unwell
	p.unwell = unwell
	if unwell != nil {
		p.lastError = unwell
	}
	p.mu.Unlock()
	switch {
	case unwell != nil && before == nil:
		p.log.Warn("plugin says that it cannot do its work", "reason", clip(resp.GetReason()))
	case unwell == nil && before != nil:
		p.log.Info("plugin can do its work again")
	}
	return nil
}

// relaunch starts the plugin until that succeeds, with growing pauses, or answers nil when ctx ends. Restarts is counted
// for each success.
func (p *Plugin) relaunch(ctx context.Context, pause *time.Duration) *instance {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(*pause/2 + rand.N(*pause/2+1)):
		}
		*pause = min(2**pause, p.host.opts.timing.lastPause)
		start, cancel := context.WithTimeout(ctx, p.host.opts.timing.startup)
		inst, err := p.launch(start)
		cancel()
		if ctx.Err() != nil {
			if inst != nil {
				inst.stop()
			}
			return nil
		}
		if err != nil {
			p.lose(StateRestarting, err)
			p.log.Error("plugin could not be started again", "error", err, "next_try_within", pause.String())
			continue
		}
		p.mu.Lock()
		p.restarts++
		restarts, told := p.restarts, p.onRestart
		p.mu.Unlock()
		p.host.metrics.restarts.WithLabelValues(p.spec.name).Inc()
		p.adopt(inst)
		p.log.Info("plugin runs again", "pid", inst.process.pid(), "restarts", restarts)
		for _, fn := range told {
			fn()
		}
		return inst
	}
}
