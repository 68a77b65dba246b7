package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Candidate is a plugin's process that is to take the place of another. It is not supervised: where it ends before the
// switch, the switch fails and everything stays. Life: Plugin.Prepare -> Plugin.Switch or Close.
type Candidate struct {
	host *Host
	inst *instance

	// mu guards the fields below.
	mu     sync.Mutex
	active bool
	// spent: it has taken over, or was closed.
	spent bool
}

// Prepare starts a process that is to take p's place, while p goes on serving: its file is verified, it is started, described
// and configured. Where it and p do not both hold something exclusive (Describe says so), it is also activated, healthy, and
// has answered a few harmless calls; else Switch does that, with p's calls waiting.
//
// An error is one line that names the plugin and what to do, and comes within some 20 s of the handshake; nothing is left behind then.
func (p *Plugin) Prepare(ctx context.Context, what Spec) (*Candidate, error) {
	if !p.host.enter() {
		return nil, ErrClosed
	}
	defer p.host.starts.Done()
	what.Kind = p.kind
	s, err := p.host.spec(what)
	if err != nil {
		return nil, err
	}
	if now := p.present(); s.Attach != "" && now.Attach == s.Attach {
		return nil, fmt.Errorf("plugin %q: the gateway is attached to that process already; start it anew where it was started, and the gateway attaches to it again", now.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.host.ctx, cancel)()

	inst, err := p.host.prepare(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", s.Name, err)
	}
	c := &Candidate{host: p.host, inst: inst}
	if !p.Describe().GetExclusive() || !inst.describe.GetExclusive() {
		if err := c.Activate(ctx); err != nil {
			c.Close()
			return nil, err
		}
	}
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.candidates[c] = struct{}{} // a host that is being closed waits for this call first
	return c, nil
}

// Activate makes the process ready for calls and tries it: see Prepare, which has done so already where nothing is exclusive.
// A caller that knows that the two do not hold the same thing may do it for others.
func (c *Candidate) Activate(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		return nil
	}
	start, done := context.WithTimeout(ctx, c.inst.timing.startup)
	err := c.inst.activate(start)
	done()
	if err == nil {
		err = c.inst.healthy(ctx)
	}
	if err == nil {
		err = c.inst.ping(ctx)
	}
	if err != nil {
		return fmt.Errorf("plugin %q: %w", c.inst.spec.Name, err)
	}
	c.active = true
	return nil
}

// Active says whether the process is ready for calls.
func (c *Candidate) Active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// Spec is what the process was started as.
func (c *Candidate) Spec() Spec { return c.inst.spec.Spec }

// Describe is what the process said of itself. It must not be changed.
func (c *Candidate) Describe() *pluginv1.DescribeResponse { return c.inst.describe }

// Checksum is the "sha256:HEX" of the executable that was started.
func (c *Candidate) Checksum() string { return c.inst.file.sum }

// Meta calls this process, and no other, as a meta plugin. Calls have the caller's deadline only, and fail before Activate.
func (c *Candidate) Meta() pluginv1.MetaClient { return pluginv1.NewMetaClient(c.inst.conn) }

// Auth calls this process, and no other, as an auth plugin; see Meta.
func (c *Candidate) Auth() pluginv1.AuthClient { return pluginv1.NewAuthClient(c.inst.conn) }

// Close stops the process of a candidate that is not wanted. After a switch, and a second time, it does nothing.
func (c *Candidate) Close() {
	if !c.spend() {
		return
	}
	c.inst.stop()
}

// spend says whether the process is still this candidate's, which it is no more afterwards.
func (c *Candidate) spend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spent {
		return false
	}
	c.spent = true
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	delete(c.host.candidates, c)
	return true
}

// errSpent is the error of a candidate that has been used.
var errSpent = errors.New("the prepared plugin was used or closed already")
