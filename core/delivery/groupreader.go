package delivery

import (
	"context"

	"github.com/lmqgate/lmqgate/core/store"
)

// GroupReader reads a shared group for one member.
type GroupReader struct {
	g     *group
	owner Owner
	// Guarded by g.mu.
	idle, woken, closed bool
	room                int // how many records it could take when it went idle
}

var _ Reader = (*GroupReader)(nil)

// AddQueues makes the group read further queues.
func (r *GroupReader) AddQueues(refs []store.QueueRef) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if !r.closed {
		r.g.add(refs)
	}
}

// Filter implements Reader.
func (r *GroupReader) Filter() string { return r.g.filter }

// Next implements Reader. The records that it returns belong to the member until their Leases are acknowledged or given back. A member
// without room must not call it.
func (r *GroupReader) Next(limit int, out []Item) ([]Item, State) {
	g := r.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.closed {
		return out, Idle
	}
	if r.woken {
		r.woken = false
		g.woken--
	}
	if r.idle {
		g.unidle(r)
	}
	n := min(limit, len(g.buffer))
	if g.woken > 0 { // leave a share for the other signalled members
		n = min(n, (len(g.buffer)+g.woken)/(g.woken+1))
	}
	for _, l := range g.buffer[:n] {
		l.state = leaseHeld
		out = append(out, Item{Record: l.record, Lease: l})
	}
	clear(g.buffer[:n])
	if g.buffer = g.buffer[n:]; len(g.buffer) == 0 {
		g.buffer = nil
	}
	g.hub.metrics.groupHanded.Add(float64(n))
	if n == limit {
		return out, Ready
	}
	r.idle, r.room = true, limit-n
	g.idle = append(g.idle, r)
	g.wake()
	return out, Idle
}

// Fetch implements Reader. A GroupReader is never behind.
func (r *GroupReader) Fetch(_ context.Context, _ int, out []Item) ([]Item, error) { return out, nil }

// Skip implements Reader. Records of a group are never skipped.
func (r *GroupReader) Skip() int64 { return 0 }

// Close implements Reader. The member keeps the records that it has until they are acknowledged or given back.
func (r *GroupReader) Close() {
	g := r.g
	h := g.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	if r.woken {
		g.woken--
	}
	if r.idle {
		g.unidle(r)
	}
	for i, other := range g.readers {
		if other == r {
			g.readers = append(g.readers[:i:i], g.readers[i+1:]...)
			break
		}
	}
	if len(g.readers) > 0 {
		g.wake()
		return
	}
	h.useGroup(groupKey(g.name, g.filter), g.filter, -1)
	g.cancel()
	g.cancel = nil
	buffer := g.buffer
	g.buffer = nil
	for _, l := range buffer {
		l.giveBack()
	}
}
