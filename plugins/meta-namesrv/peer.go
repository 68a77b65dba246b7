package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// kv is what the plugin needs from a name server; remoting.Client implements it.
type kv interface {
	PutKVConfig(ctx context.Context, namesrv, namespace, key, value string) error
	GetKVConfig(ctx context.Context, namesrv, namespace, key string) (string, bool, error)
	DeleteKVConfig(ctx context.Context, namesrv, namespace, key string) error
	ListKVConfig(ctx context.Context, namesrv, namespace string) (map[string]string, error)
}

// callTimeout bounds one request to a namesrv.
const callTimeout = 2 * time.Second

// downFor is how long a name server that failed is skipped while another one answers.
const downFor = 2 * time.Second

// change is one key to write (value set) or to remove, in the encoding of the name server.
type change struct {
	ns, key string
	value   *string
	// still is set on repairs. It is called right before the change is applied, and false drops the change: a repair must not undo a write
	// that happened after the comparison.
	still func(context.Context) bool
}

type changeID struct{ ns, key string }

// group is a batch of changes for one peer; done gets the first error.
type group struct {
	changes []change
	done    chan error // buffered
}

var errClosed = errors.New("the plugin is being deactivated")

// peer is one name server. Writes to it go one at a time: a name server that gets several at once may write its file in another order than
// its memory, and at its next start lose what it acknowledged. Waiting changes are coalesced by key.
type peer struct {
	addr string
	kv   kv
	log  *slog.Logger
	wake chan struct{}

	mu    sync.Mutex
	queue []*group
	ended bool
	down  time.Time // until then it is skipped
	// behind is true after a write failed or a read showed old values: repair then updates the name server.
	behind bool
	// missed are the changes of the namespace LMQ that failed here. Values in LMQ have no revision from which repair could see that they
	// are old.
	missed map[changeID]change
}

func newPeer(addr string, kv kv, log *slog.Logger) *peer {
	return &peer{addr: addr, kv: kv, log: log, wake: make(chan struct{}, 1), missed: map[changeID]change{}}
}

// enqueue queues changes; the result arrives on the channel.
func (p *peer) enqueue(changes []change) <-chan error {
	g := &group{changes: changes, done: make(chan error, 1)}
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		g.done <- errClosed
		return g.done
	}
	p.queue = append(p.queue, g)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return g.done
}

// run applies queued changes until ctx ends, and fails the remaining ones.
func (p *peer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			p.round(ctx)
			return
		case <-p.wake:
			p.round(ctx)
		}
	}
}

// round applies all queued changes; of several changes to a key only the last.
func (p *peer) round(ctx context.Context) {
	p.mu.Lock()
	groups := p.queue
	p.queue = nil
	p.mu.Unlock()
	last := map[changeID]change{}
	for _, g := range groups {
		for _, c := range g.changes {
			id := changeID{c.ns, c.key}
			if _, other := last[id]; !other || c.still == nil {
				last[id] = c
			}
		}
	}
	failed := map[changeID]error{}
	done := map[changeID]bool{}
	var broken error // after a connection failure the rest is not attempted
	for _, g := range groups {
		var first error
		for _, c := range g.changes {
			id := changeID{c.ns, c.key}
			if !done[id] {
				done[id] = true
				err := broken
				if err == nil {
					if err = p.do(ctx, last[id]); err != nil {
						broken = err
					}
				}
				if err != nil {
					failed[id] = err
				}
			}
			if first == nil {
				first = failed[id]
			}
		}
		g.done <- first
	}
}

func (p *peer) do(ctx context.Context, c change) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.still != nil && !c.still(ctx) {
		return nil
	}
	var err error
	if c.value != nil {
		err = p.kv.PutKVConfig(ctx, p.addr, c.ns, c.key, *c.value)
	} else {
		err = p.kv.DeleteKVConfig(ctx, p.addr, c.ns, c.key)
	}
	return p.answered(err)
}

// missedWrite remembers changes that other name servers have and this one lacks.
func (p *peer) missedWrite(changes []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind = true
	for _, c := range changes {
		if c.ns == upstream {
			p.missed[changeID{c.ns, c.key}] = c
		}
	}
}

// hasWrite forgets missed changes to keys that were now written.
func (p *peer) hasWrite(changes []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		delete(p.missed, changeID{c.ns, c.key})
	}
}

// misses returns the changes of LMQ that this name server missed, as repairs.
func (p *peer) misses() []change {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []change
	for id, c := range p.missed {
		value := c.value
		c.still = func(context.Context) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			now, ok := p.missed[id]
			return ok && now.value == value
		}
		out = append(out, c)
	}
	return out
}

// answered records whether the name server answers, and returns err.
func (p *peer) answered(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := !p.down.IsZero()
	switch {
	case err == nil:
		p.down = time.Time{}
		if was {
			p.log.Info("namesrv answers again", "namesrv", p.addr)
		}
		return nil
	case errors.Is(err, context.Canceled):
		return err
	}
	if p.down = time.Now().Add(downFor); !was {
		p.log.Warn("namesrv does not answer; it will be brought up to date when it does", "namesrv", p.addr, "error", err)
	}
	return fmt.Errorf("namesrv %s: %w", p.addr, err)
}

// up reports whether the peer should be asked.
func (p *peer) up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.down)
}

func (p *peer) isBehind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind
}

func (p *peer) setBehind(b bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind = b
}

// get and list are reads with a timeout; they record whether the name server answers.
func (p *peer) get(ctx context.Context, ns, key string) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, ok, err := p.kv.GetKVConfig(ctx, p.addr, ns, key)
	return v, ok, p.answered(err)
}

func (p *peer) list(ctx context.Context, ns string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	table, err := p.kv.ListKVConfig(ctx, p.addr, ns)
	return table, p.answered(err)
}
