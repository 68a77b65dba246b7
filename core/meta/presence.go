package meta

import (
	"context"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// presence tracks which sessions and wills may be in a backend that only this node writes to. If a key is known to be absent, the backend
// need not be asked (negative cache), which saves a CONNECT two calls. It learns the keys from a listing at the start and from this node's
// writes. It may wrongly assume that a key is present, but never that it is absent.
//
// Backends shared among nodes are always asked.
type presence struct {
	m    *Meta
	wake chan struct{} // one token: there is something to list

	mu sync.Mutex
	of map[string]*namespacePresence
}

type namespacePresence struct {
	// whole says that keys contains every key of the backend.
	whole bool
	keys  map[string]keyPresence
	// writes counts the puts begun; it only grows.
	writes int64
	// listing counts the backends. A listing of an earlier backend does not make keys whole.
	listing int
}

// keyPresence is the state of a key that may be present.
type keyPresence struct {
	writing int32 // puts that have not ended
	writes  int64 // number of the latest put, by which a removal notices later puts
	stays   bool  // a put failed or was retried: it may take effect at any time
}

func newPresence(m *Meta) *presence {
	return &presence{m: m, wake: make(chan struct{}, 1), of: map[string]*namespacePresence{
		NamespaceSessions: {keys: map[string]keyPresence{}}, NamespaceWills: {keys: map[string]keyPresence{}},
	}}
}

// run lists the backend's keys at the start, and again after each change of backend, until ctx ends.
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

// reset says that the backend has changed. Its keys are listed again; known keys stay.
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

// absent reports whether a key is certainly absent.
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

// begin registers operations before they are sent. The caller calls end when it knows the outcome. certain is false if a put may still take
// effect after end, or if a removal may not have taken effect.
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
			if shared && k.writing == 0 { // shared backends are always asked, and other nodes remove keys
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

// noted is a key with an operation under way.
type noted struct {
	n      *namespacePresence
	key    string
	writes int64
}
