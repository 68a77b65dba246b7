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

// takeover is how a swap and the supervisor hand the plugin's process over to each other.
type takeover struct {
	// old brings the process that the supervisor watched, or nil where there is none; from then on it is the swap's.
	old chan *instance
	// next takes the process to watch from now on, or nil to start the plugin again.
	next chan *instance
}

// take gets the process from the supervisor. Where err is nil, something must be sent to next.
func (p *Plugin) take(ctx context.Context) (t *takeover, old *instance, err error) {
	t = &takeover{old: make(chan *instance, 1), next: make(chan *instance, 1)}
	p.mu.Lock()
	if p.cancelLaunch != nil {
		p.cancelLaunch() // a restart that is under way is given up for the swap
	}
	p.mu.Unlock()
	select {
	case p.takeovers <- t:
		return t, <-t.old, nil
	case <-p.gone:
		return nil, nil, fmt.Errorf("it is stopped")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// supervise keeps the plugin alive until ctx ends, and then stops it. It owns the instance. The Host waits for it.
func (p *Plugin) supervise(ctx context.Context, inst *instance) {
	defer p.supervised.Done()
	defer close(p.gone)
	t := p.host.opts.timing
	pause := t.firstPause
	for {
		why, swap := p.watch(ctx, inst)
		if swap != nil {
			swap.old <- inst
			if inst = <-swap.next; inst != nil {
				continue
			}
			pause = t.firstPause
		} else {
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
			inst.spec.log.Error("plugin is down; it is started again", "error", why)
		}
		if inst = p.relaunch(ctx, &pause); inst == nil {
			p.lose(StateStopped, nil)
			return
		}
	}
}

// watch returns why the process is no longer good, or the swap that wants it, or when ctx ends.
func (p *Plugin) watch(ctx context.Context, inst *instance) (why error, swap *takeover) {
	tick := time.NewTicker(p.host.opts.timing.healthEvery)
	defer tick.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case t := <-p.takeovers:
			return nil, t
		case <-inst.process.exited:
			return inst.process.ended(), nil
		case <-tick.C:
		}
		err := p.checkHealth(ctx, inst)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures >= healthFailures {
			return fmt.Errorf("it did not answer %d health checks: %s", failures, clip(status.Convert(err).Message())), nil
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
	unwell := unwellness(inst.spec.Name, resp)
	p.mu.Lock()
	before := p.unwell
	p.unwell = unwell
	if unwell != nil {
		p.lastError = unwell
	}
	p.mu.Unlock()
	switch {
	case unwell != nil && before == nil:
		inst.spec.log.Warn("plugin says that it cannot do its work", "reason", clip(resp.GetReason()))
	case unwell == nil && before != nil:
		inst.spec.log.Info("plugin can do its work again")
	}
	return nil
}

// relaunch starts the plugin until that succeeds, with growing pauses, or until a swap brings another process. It answers nil
// when ctx ends. Restarts is counted for each success.
func (p *Plugin) relaunch(ctx context.Context, pause *time.Duration) *instance {
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-p.takeovers:
			t.old <- nil
			if inst := <-t.next; inst != nil {
				return inst
			}
		case <-time.After(*pause/2 + rand.N(*pause/2+1)):
		}
		*pause = min(2**pause, p.host.opts.timing.lastPause)
		inst, err := p.launchAgain(ctx)
		if ctx.Err() != nil {
			if inst != nil {
				inst.stop()
			}
			return nil
		}
		if err != nil {
			p.lose(StateRestarting, err)
			p.present().log.Error("plugin could not be started again", "error", err, "next_try_within", pause.String())
			continue
		}
		p.mu.Lock()
		p.restarts++
		restarts, told := p.restarts, p.onRestart
		p.mu.Unlock()
		p.host.metrics.restarts.WithLabelValues(inst.spec.Name).Inc()
		p.adopt(inst)
		inst.spec.log.Info("plugin runs again", "pid", inst.process.pid(), "restarts", restarts)
		for _, fn := range told {
			fn()
		}
		return inst
	}
}

// launchAgain starts the plugin as it is specified now. A swap may give it up.
func (p *Plugin) launchAgain(ctx context.Context) (*instance, error) {
	ctx, cancel := context.WithTimeout(ctx, p.host.opts.timing.startup)
	defer cancel()
	p.mu.Lock()
	p.cancelLaunch = cancel
	s := p.spec
	p.mu.Unlock()
	inst, err := p.host.launch(ctx, s)
	p.mu.Lock()
	p.cancelLaunch = nil
	p.mu.Unlock()
	return inst, err
}
