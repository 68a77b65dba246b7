package meta

import (
	"context"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// presence knows which sessions and wills a backend may hold that this node alone writes to: where it says no, the backend need not be
// asked. That spares a CONNECT two calls. It learns the keys from a listing at the start and from this node's writes. It may take a key
// for present that is not, never the other way.
//
// Backends that are shared among nodes are always asked.
type presence struct {
	m    *Meta
	wake chan struct{} // one token: there is something to list

	mu sync.Mutex
	of map[string]*namespacePresence
}

type namespacePresence struct {
	// whole says that keys has every key of the backend.
	whole bool
	keys  map[string]keyPresence
	// writes counts the puts that were begun; it only grows.
	writes int64
	// listing counts the backends: a listing of an earlier one does not make it whole.
	listing int
}

// keyPresence is what is under way with a key that may be there.
type keyPresence struct {
	writing int32 // puts that have not ended
	writes  int64 // number of the put that was begun last, so that a removal notices it
	stays   bool  // a put ended with an error, or was tried again: it may take effect at any time
}

func newPresence(m *Meta) *presence {
	return &presence{m: m, wake: make(chan struct{}, 1), of: map[string]*namespacePresence{
		NamespaceSessions: {keys: map[string]keyPresence{}}, NamespaceWills: {keys: map[string]keyPresence{}},
	}}
}

// run lists what the backend has, at the start and when it is another one, until ctx ends.
func (p *presence) run(ctx context.Context) {
	for try := 0; ; try++ {
		if p.m.traits().GetShared() || p.learn(ctx) == nil {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
				try = 0
			}
		} else if pause(ctx, try) != nil {
			return
		}
	}
}

// learn lists the namespaces.
func (p *presence) learn(ctx context.Context) error {
	for ns, n := range p.of {
		p.mu.Lock()
		listing, whole := n.listing, n.whole
		p.mu.Unlock()
		if whole {
			continue
		}
		_, err := p.m.backend.list(ctx, ns, "", func(entries []*pluginv1.Entry) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, e := range entries {
				n.keys[e.GetKey()] = n.keys[e.GetKey()]
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.mu.Lock()
		n.whole = listing == n.listing && !p.m.traits().GetShared()
		p.mu.Unlock()
	}
	return nil
}

// reset says that the backend is another one. What it may hold is listed anew; keys that were known stay.
func (p *presence) reset() {
	p.mu.Lock()
	for _, n := range p.of {
		n.whole = false
		n.listing++
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// absent reports whether a key is certainly not there.
func (p *presence) absent(ns, key string) bool {
	n := p.of[ns]
	if n == nil || p.m.traits().GetShared() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, may := n.keys[key]
	return n.whole && !may
}

// begin notes operations before they are sent. The caller calls end when it knows what became of them; certain is false where a put may
// take effect later than end, or a removal may not have.
func (p *presence) begin(ops ...*pluginv1.Operation) (end func(certain bool)) {
	var puts, removals []noted
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, op := range ops {
		id := target(op)
		n := p.of[id.ns]
		if n == nil {
			continue
		}
		k, there := n.keys[id.key]
		switch {
		case op.GetPut() != nil:
			k.writing++
			n.writes++
			k.writes = n.writes
			n.keys[id.key] = k
			puts = append(puts, noted{n, id.key, k.writes})
		case there && k.writing == 0 && !k.stays:
			removals = append(removals, noted{n, id.key, k.writes})
		}
	}
	if puts == nil && removals == nil {
		return func(bool) {}
	}
	return func(certain bool) {
		shared := p.m.traits().GetShared()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, r := range puts {
			k := r.n.keys[r.key]
			k.writing--
			k.stays = k.stays || !certain
			r.n.keys[r.key] = k
			if shared && k.writing == 0 { // nobody asks, and other nodes remove it
				delete(r.n.keys, r.key)
			}
		}
		for _, r := range removals {
			if k := r.n.keys[r.key]; certain && k.writing == 0 && k.writes == r.writes && !k.stays {
				delete(r.n.keys, r.key)
			}
		}
	}
}

// noted is a key that something is under way with.
type noted struct {
	n      *namespacePresence
	key    string
	writes int64
}
