package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// A shared group is read from the store, not from a window: the store hands each record out once in the whole cluster, and this
// node passes what it was handed on to its members. A record is asked for when a member has room for it, and is the member's
// until the member's session acknowledges it or gives it back.

const (
	// popBatch is how many records are asked for at once at the most, and popWait how long the store may wait for the first.
	popBatch = 32
	popWait  = 20 * time.Second
	// bufferHold is how long a record waits on this node for a member that takes it, before it is given back to the store.
	bufferHold = 5 * time.Second
	// groupTick is how often a group looks after what it holds.
	groupTick = 250 * time.Millisecond
)

// group is a shared group on this node. It exists while it has members, or records that are not acknowledged or given back.
type group struct {
	hub    *Hub
	name   string // the group's
	filter string

	mu      sync.Mutex
	readers []*GroupReader
	idle    []*GroupReader // readers that wait for records, the longest first
	woken   int            // readers that were told and have not come yet
	buffer  []*Lease       // handed to this node, not yet to a member
	queues  map[store.QueueRef]*groupQueue
	cancel  context.CancelFunc // ends the queues' pop loops; nil without members
	ctx     context.Context    //nolint:containedctx // of the pop loops
	renewed time.Time
}

// groupKey names a group of a hub, as SUBSCRIBE does.
func groupKey(name, filter string) string { return topic.Shared(name, filter) }

// Group opens a reader of a shared group, which reads a filter's queues.
func (h *Hub) Group(name, filter string, refs []store.QueueRef, owner Owner) (*GroupReader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	key := groupKey(name, filter)
	g := h.groups[key]
	if g == nil {
		g = &group{hub: h, name: name, filter: filter, queues: make(map[store.QueueRef]*groupQueue, len(refs))}
		h.groups[key] = g
		if len(h.groups) == 1 && !h.keeping {
			h.keeping = true
			h.wg.Go(h.keepGroups)
		}
	}
	r := &GroupReader{g: g, owner: owner}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readers = append(g.readers, r)
	if g.cancel == nil {
		g.ctx, g.cancel = context.WithCancel(h.ctx)
		h.useGroup(key, filter, 1)
		for _, q := range g.queues {
			q.start()
		}
	}
	g.add(refs)
	return r, nil
}

// useGroup counts the groups that use a filter on this node. Called with mu held.
func (h *Hub) useGroup(key, filter string, n int) {
	for _, name := range []string{key, filter} {
		if h.inGroups[name] += n; h.inGroups[name] == 0 {
			delete(h.inGroups, name)
		}
	}
}

// GroupReads reports whether a group with members on this node reads a filter, or is the one of this name ("$share/group/filter").
func (h *Hub) GroupReads(filter string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inGroups[filter] > 0
}

// add adds queues that the group does not read yet. Called with mu held.
func (g *group) add(refs []store.QueueRef) {
	for _, ref := range refs {
		if g.queues[ref] != nil {
			continue
		}
		q := &groupQueue{g: g, ref: store.Group{Name: g.name, QueueRef: ref}, demand: make(chan struct{}, 1),
			open: make(map[*Lease]struct{})}
		g.queues[ref] = q
		q.start()
	}
}

// unidle takes a reader out of those that wait. Called with mu held.
func (g *group) unidle(r *GroupReader) {
	r.idle = false
	for i, other := range g.idle {
		if other == r {
			g.idle = append(g.idle[:i:i], g.idle[i+1:]...)
			return
		}
	}
}

// wake tells as many members that wait as there are records for, the longest waiting first, and has more records asked for where
// there are members without. Called with mu held.
func (g *group) wake() {
	for _, r := range g.idle {
		if g.woken >= len(g.buffer) {
			break
		}
		if !r.woken {
			r.woken = true
			g.woken++
			r.owner.ReaderReady(r)
		}
	}
	if g.wants() > 0 {
		for _, q := range g.queues {
			q.ask()
		}
	}
}

// wants is how many records members have room for that are not here yet. Called with mu held.
func (g *group) wants() int {
	n := -len(g.buffer)
	for _, r := range g.idle {
		if n += r.room; n >= popBatch {
			break
		}
	}
	return min(n, popBatch)
}

// take takes over what the store handed out. Records that are not the filter's (names of queues can collide) are acknowledged.
func (g *group) take(q *groupQueue, handed []store.Handout, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for i := range handed {
		h := &handed[i]
		l := &Lease{q: q, record: h.Record, receipt: h.Receipt, until: until, since: now}
		q.open[l] = struct{}{}
		if h.Again {
			g.hub.metrics.groupAgain.Inc()
		}
		switch {
		case !matches(g.filter, h.Record):
			l.ack()
		case len(g.readers) == 0:
			l.giveBack()
		default:
			g.buffer = append(g.buffer, l)
		}
	}
	g.wake()
}

// keepGroups looks after the groups until the hub closes.
func (h *Hub) keepGroups() {
	for wait.For(h.ctx, groupTick) == nil {
		h.mu.Lock()
		groups := make([]*group, 0, len(h.groups))
		for _, g := range h.groups {
			groups = append(groups, g)
		}
		h.mu.Unlock()
		for _, g := range groups {
			if g.keep(time.Now()) {
				h.dropGroup(g)
			}
		}
	}
}

// keep wakes further members where those that were told do not come, gives back what nobody takes, and has hidden anew what
// members still have. It reports whether nothing is left of the group.
func (g *group) keep(now time.Time) (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.buffer[:0]
	for _, l := range g.buffer {
		if now.Sub(l.since) > bufferHold {
			l.giveBack()
		} else {
			rest = append(rest, l)
		}
	}
	clear(g.buffer[len(rest):])
	g.buffer = rest
	if len(g.buffer) > 0 && g.woken > 0 {
		// Those that were told have no room, it seems: to the end with them.
		var told, others []*GroupReader
		for _, r := range g.idle {
			if r.woken {
				r.woken = false
				told = append(told, r)
			} else {
				others = append(others, r)
			}
		}
		g.woken, g.idle = 0, append(others, told...)
		g.wake()
	}
	idle := true
	for _, q := range g.queues {
		idle = idle && len(q.open) == 0 && !q.busy()
	}
	if now.Sub(g.renewed) >= min(time.Second, g.hub.hidden/8) {
		g.renewed = now
		for _, q := range g.queues {
			q.renew(now)
		}
	}
	return idle && len(g.readers) == 0
}

// stopGroups ends what groups do in the background; what begins under a group's mutex has begun when it returns, or does not.
func (h *Hub) stopGroups() {
	h.drainGroups()
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.groups {
		g.mu.Lock()
		g.mu.Unlock() //nolint:staticcheck // a barrier
	}
}

// dropGroup forgets a group of which nothing is left.
func (h *Hub) dropGroup(g *group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.readers) > 0 {
		return
	}
	for _, q := range g.queues {
		if len(q.open) > 0 || q.busy() {
			return
		}
	}
	if key := groupKey(g.name, g.filter); h.groups[key] == g {
		delete(h.groups, key)
	}
}

// drainGroups waits until what members acknowledged or gave back is with the store, for a while.
func (h *Hub) drainGroups() {
	deadline := time.Now().Add(drainTimeout)
	for time.Now().Before(deadline) {
		h.mu.Lock()
		busy := false
		for _, g := range h.groups {
			g.mu.Lock()
			for _, q := range g.queues {
				// While it has members, what the store hands out is theirs.
				busy = busy || q.flushing || len(g.readers) == 0 && q.popping > 0
			}
			g.mu.Unlock()
		}
		h.mu.Unlock()
		if !busy || wait.For(h.ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}

// drainTimeout bounds how long the end of a hub waits for the store.
const drainTimeout = 3 * time.Second

// groupCount is how many groups have members on this node.
func (h *Hub) groupCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for key, count := range h.inGroups {
		if count > 0 && topic.IsShared(key) {
			n++
		}
	}
	return n
}
