package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// holdTimeout bounds how long a swap waits for calls in progress to end.
const holdTimeout = 12 * time.Second

// exchangeTimeout bounds how long calls are held while one process is deactivated and another activated.
const exchangeTimeout = 8 * time.Second

// Switching has the options of a switch.
type Switching struct {
	// Content summarises all data of a meta plugin that a switch must not change. If it is set, writes are held from before it is called
	// until after the switch, and the switch is refused unless both plugins have the same summary.
	Content func(context.Context, pluginv1.MetaClient) (string, error)
	// Switched is called when calls go to the new process, before held calls proceed. It must not block or call the plugin.
	Switched func()
}

// Errors of a switch that was refused because of Switching.Content.
var (
	// ErrContent means that the two plugins hold different data.
	ErrContent = errors.New("the two do not keep the same")
	// ErrNotCompared means that the data of one of them could not be read.
	ErrNotCompared = errors.New("what the two keep could not be compared")
)

// Swap is Prepare and Switch in one.
func (p *Plugin) Swap(ctx context.Context, what Spec, o Switching) error {
	c, err := p.Prepare(ctx, what)
	if err != nil {
		return err
	}
	defer c.Close() // after the switch this does nothing
	return p.Switch(ctx, c, o)
}

// Switch replaces p's process by a prepared one. Calls in progress end on the old process, which is then stopped; later calls go to the new
// one; no call is lost. If both are exclusive, calls are held while the old process is deactivated and the new one is activated.
//
// On an error, which is one line, the plugin stays as it was, and the caller must still close the candidate. Switch returns when the old
// process has ended, within a minute.
func (p *Plugin) Switch(ctx context.Context, c *Candidate, o Switching) error {
	if !p.host.enter() {
		return ErrClosed
	}
	defer p.host.starts.Done()
	p.swapping.Lock()
	defer p.swapping.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.host.ctx, cancel)()

	old, err := p.switchTo(ctx, c, o)
	p.host.metrics.swap(c.inst.spec.Name, err)
	if err != nil {
		return fmt.Errorf("plugin %q: %w", c.inst.spec.Name, err)
	}
	c.inst.spec.log.Info("plugin has taken over", "version", c.inst.describe.GetVersion(), "pid", c.inst.pid(), "checksum", c.inst.file.sum)
	if old != nil {
		old.drain(p.route.deadline)
		old.stop()
	}
	return nil
}

// switchTo is Switch up to the moment at which calls go to the new process; old is the previous process, if there was one.
func (p *Plugin) switchTo(ctx context.Context, c *Candidate, o Switching) (old *instance, err error) {
	hold := holdNothing
	switch {
	case !c.Active():
		hold = holdAll
	case p.kind == pluginv1.Kind_KIND_META:
		hold = holdWrites
	}
	if hold != holdNothing {
		defer p.route.gate.release()
		waiting, cancel := context.WithTimeout(ctx, holdTimeout)
		defer cancel()
		if err := p.route.gate.hold(waiting, hold); err != nil {
			return nil, fmt.Errorf("the calls of %s that are under way do not end: %w", p.Name(), err)
		}
	}
	t, old, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	next := old // the process that the supervisor gets back
	defer func() { t.next <- next }()

	var before string
	if o.Content != nil {
		if before, err = contentOf(ctx, old, o); err != nil {
			return nil, fmt.Errorf("%w: the one that serves: %w", ErrNotCompared, err)
		}
	}
	exchanged := !c.Active()
	if exchanged {
		release(old)
		exchanging, done := context.WithTimeout(ctx, exchangeTimeout)
		err = c.Activate(exchanging)
		done()
	}
	if err == nil && o.Content != nil {
		err = c.agrees(ctx, before, o)
	}
	if err == nil {
		err = c.inst.exitedAlready()
	}
	if err == nil && !c.spend() {
		err = errSpent
	}
	if err != nil {
		if exchanged {
			c.Close() // it must let go first
			next = p.back(old)
		}
		return nil, err
	}
	next = c.inst
	p.adopt(c.inst)
	if o.Switched != nil {
		o.Switched()
	}
	return old, nil
}

// release makes a process release its exclusive resources, by killing it if necessary. old may be nil.
func release(old *instance) {
	if old == nil || old.exitedAlready() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), old.timing.deactivate)
	defer cancel()
	if _, err := old.control.Deactivate(ctx, &pluginv1.DeactivateRequest{}); err != nil {
		old.spec.log.Warn("plugin could not be deactivated; it is stopped", "error", err)
		old.end(discardTimeout)
	}
}

// back reactivates a process that was deactivated. If that fails it returns nil, and the supervisor restarts the plugin.
func (p *Plugin) back(old *instance) *instance {
	if old == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), old.timing.startup)
	defer cancel()
	err := old.exitedAlready()
	if err == nil {
		err = old.activate(ctx)
	}
	if err != nil {
		p.lose(StateRestarting, err)
		old.end(discardTimeout)
		old.spec.log.Error("plugin could not be activated again after a swap that failed; it is started again", "error", err)
		return nil
	}
	return old
}

// contentOf summarises the data of a process.
func contentOf(ctx context.Context, inst *instance, o Switching) (string, error) {
	if inst == nil {
		return "", errors.New("it does not run")
	}
	return o.Content(ctx, pluginv1.NewMetaClient(inst.conn))
}

// agrees returns an error unless the candidate's data has the summary before.
func (c *Candidate) agrees(ctx context.Context, before string, o Switching) error {
	after, err := contentOf(ctx, c.inst, o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCompared, err)
	}
	if after != before {
		return fmt.Errorf("%w: it keeps %s, the one that serves keeps %s", ErrContent, after, before)
	}
	return nil
}

// Differs reports whether the running plugin differs from a Spec in name, configuration, directory, checksum or executable, or does not run
// at all. An error says why the executable may not be started.
func (p *Plugin) Differs(what Spec) (bool, error) {
	what.Kind = p.kind
	s, err := p.host.spec(what)
	if err != nil {
		return false, err
	}
	now, info := p.present(), p.Info()
	if s.Attach != "" {
		return info.State != StateRunning || now.Attach != s.Attach || !bytes.Equal(now.block, s.block), nil
	}
	file, err := s.executable()
	if err != nil {
		return false, fmt.Errorf("plugin %q: %w", s.Name, err)
	}
	file.close()
	if s.Path != "" {
		s.Name = now.Name // the plugin itself determines its name
	}
	return info.State != StateRunning || now.Name != s.Name || !bytes.Equal(now.block, s.block) || now.Dir != s.Dir ||
		now.Checksum != s.Checksum || now.Path != s.Path || now.Attach != s.Attach ||
		now.MemoryLimit != s.MemoryLimit || now.StartTimeout != s.StartTimeout || info.Checksum != file.sum, nil
}
