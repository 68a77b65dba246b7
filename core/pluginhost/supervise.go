package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// healthFailures is how many consecutive health checks may go unanswered before a process is considered hung.
const healthFailures = 3

// takeover transfers the ownership of the plugin's process from the supervisor to a swap and back.
type takeover struct {
	// old carries the process that the supervisor watched, or nil if there is none; from then on the swap owns it.
	old chan *instance
	// next carries the process to watch from then on, or nil to restart the plugin.
	next chan *instance
}

// take gets the process from the supervisor. If err is nil, the caller must send to next.
func (p *Plugin) take(ctx context.Context) (t *takeover, old *instance, err error) {
	t = &takeover{old: make(chan *instance, 1), next: make(chan *instance, 1)}
	p.mu.Lock()
	if p.cancelLaunch != nil {
		p.cancelLaunch() // cancels a restart in progress in favour of the swap
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

// supervise keeps the plugin running until ctx ends, and then stops it. It owns the instance. The Host waits for it.
func (p *Plugin) supervise(ctx context.Context, inst *instance) {
	defer p.supervised.Done()
	defer close(p.gone)
	t := p.host.opts.timing
	pause := t.firstPause
	loop := &crashLoop{}
	for {
		swap, why := p.watch(ctx, inst, loop)
		if swap != nil {
			swap.old <- inst
			if inst = <-swap.next; inst != nil {
				continue
			}
			pause, *loop = t.firstPause, crashLoop{}
		} else {
			if ctx.Err() != nil {
				p.lose(StateStopped, nil)
				inst.stop()
				return
			}
			if time.Since(inst.started) > t.stableAfter {
				pause, *loop = t.firstPause, crashLoop{}
			}
			p.lose(loop.ended(inst.spec.log, "plugin is down; it is started again", why, t.lastPause), why)
			inst.end(discardTimeout)
		}
		if inst = p.relaunch(ctx, &pause, loop); inst == nil {
			p.lose(StateStopped, nil)
			return
		}
	}
}

// watch returns a swap that wants the process, or why the process must be replaced; it also returns when ctx ends.
func (p *Plugin) watch(ctx context.Context, inst *instance, loop *crashLoop) (swap *takeover, why error) {
	t := p.host.opts.timing
	tick := time.NewTicker(t.healthEvery)
	defer tick.Stop()
	memory := time.NewTicker(t.memoryEvery)
	defer memory.Stop()
	stable := time.NewTimer(time.Until(inst.started.Add(t.stableAfter)))
	defer stable.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case t := <-p.takeovers:
			return t, nil
		case <-inst.exited():
			return nil, inst.ended()
		case <-stable.C:
			loop.stable(inst.spec.log)
			continue
		case <-memory.C:
			if err := p.checkMemory(inst); err != nil {
				return nil, err
			}
			continue
		case <-tick.C:
		}
		err := p.checkHealth(ctx, inst)
		if err == nil || inst.paused(err) {
			failures = 0
			continue
		}
		if failures++; failures >= healthFailures {
			return nil, fmt.Errorf("it did not answer %d health checks: %s", failures, clip(status.Convert(err).Message()))
		}
	}
}

// checkMemory records the memory of the process; an error means that it is over the limit.
func (p *Plugin) checkMemory(inst *instance) error {
	used, ok := memoryOf(inst.pid())
	if inst.pid() == 0 || !ok {
		return nil
	}
	p.mu.Lock()
	p.memory = used
	p.mu.Unlock()
	p.host.metrics.memory.WithLabelValues(inst.spec.Name).Set(float64(used))
	if limit := inst.spec.MemoryLimit; limit > 0 && used > limit {
		return fmt.Errorf("it takes %d MiB of memory, more than plugins.memory_limit, %d MiB", used>>20, limit>>20)
	}
	return nil
}

// checkHealth calls Health. An error means that the process did not answer; being unhealthy is an answer.
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

// relaunch retries the start of the plugin with back-off until it succeeds, or until a swap brings another process. It returns nil when ctx
// ends. Each success counts as a restart.
func (p *Plugin) relaunch(ctx context.Context, pause *time.Duration, loop *crashLoop) *instance {
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-p.takeovers:
			t.old <- nil
			if inst := <-t.next; inst != nil {
				*loop = crashLoop{}
				return inst
			}
		case <-time.After(*pause/2 + rand.N(*pause/2+1)):
		}
		*pause = min(2**pause, p.host.opts.timing.lastPause)
		inst, given, err := p.launchAgain(ctx)
		if ctx.Err() != nil {
			if inst != nil {
				inst.stop()
			}
			return nil
		}
		if err != nil {
			if !given { // otherwise a swap cancelled it
				p.lose(loop.ended(p.present().log, "plugin could not be started again", err, p.host.opts.timing.lastPause), err)
			}
			continue
		}
		p.mu.Lock()
		p.restarts++
		restarts, told := p.restarts, p.onRestart
		p.mu.Unlock()
		p.host.metrics.restarts.WithLabelValues(inst.spec.Name).Inc()
		p.adopt(inst)
		loop.runs(inst.spec.log, inst.pid(), restarts)
		for _, fn := range told {
			fn()
		}
		return inst
	}
}

// launchAgain starts the plugin by its current spec. A swap may cancel it.
func (p *Plugin) launchAgain(ctx context.Context) (inst *instance, givenUp bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.cancelLaunch = cancel
	s := p.spec
	p.mu.Unlock()
	inst, err = p.host.launch(ctx, s)
	p.mu.Lock()
	p.cancelLaunch = nil
	p.mu.Unlock()
	return inst, errors.Is(ctx.Err(), context.Canceled), err
}
