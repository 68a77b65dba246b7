package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Candidate is a plugin process that is meant to replace another. It is not supervised: if it ends before the switch, the switch fails and
// nothing changes. Life cycle: Plugin.Prepare -> Plugin.Switch or Close.
type Candidate struct {
	host *Host
	inst *instance

	// mu guards the fields below.
	mu     sync.Mutex
	active bool
	// spent is true once the candidate has taken over or was closed.
	spent bool
}

// Prepare starts a process that is meant to replace p while p keeps serving. It verifies the file, starts the process, and calls Describe
// and Configure. Unless the process and p are both exclusive (see Describe), it also activates the process, waits until it is healthy, and
// makes a few harmless trial calls. For exclusive plugins Switch does that, while it holds p's calls.
//
// An error is one line that names the plugin and the remedy, and is returned within about 20 s of the handshake. It leaves nothing behind.
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
	p.host.candidates[c] = struct{}{} // Close waits for this call first
	return c, nil
}

// Activate makes the process ready for calls and tries it. Prepare has done so already unless both plugins are exclusive. For exclusive
// plugins a caller may do it if it knows that the two do not need the same resource.
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

// Active reports whether the process is ready for calls.
func (c *Candidate) Active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// Spec returns the Spec that the process was started with.
func (c *Candidate) Spec() Spec { return c.inst.spec.Spec }

// Describe returns the process's answer to Describe. It must not be modified.
func (c *Candidate) Describe() *pluginv1.DescribeResponse { return c.inst.describe }

// Checksum returns the "sha256:HEX" of the executable that was started.
func (c *Candidate) Checksum() string { return c.inst.file.sum }

// Meta returns a client of this very process as a meta plugin. Calls have only the caller's deadline, and fail before Activate.
func (c *Candidate) Meta() pluginv1.MetaClient { return pluginv1.NewMetaClient(c.inst.conn) }

// Auth returns a client of this very process as an auth plugin; see Meta.
func (c *Candidate) Auth() pluginv1.AuthClient { return pluginv1.NewAuthClient(c.inst.conn) }

// Close stops the process of an unused candidate. After a switch, or a previous Close, it does nothing.
func (c *Candidate) Close() {
	if !c.spend() {
		return
	}
	c.inst.stop()
}

// spend marks the candidate as spent, and reports whether it was not spent before.
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

// errSpent is the error of a candidate that was used or closed.
var errSpent = errors.New("the prepared plugin was used or closed already")
