package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// A shared group is read from the store, not from a window. The store hands out each record once in the whole cluster, and this node passes
// the records that it receives on to its members. The node asks for records when members have room for them. A record belongs to a member
// until the member's session acknowledges it or gives it back.

const (
	// popBatch bounds the records requested at a time; popWait is how long the store may wait for the first one.
	popBatch = 32
	popWait  = 20 * time.Second
	// bufferHold is how long a record waits on this node for a member to take it before it goes back to the store.
	bufferHold = 5 * time.Second
	// groupTick is the interval at which a group checks the records that it holds.
	groupTick = 250 * time.Millisecond
)

// group is a shared group on this node. It exists while it has members, or records that are neither acknowledged nor given back.
type group struct {
	hub    *Hub
	name   string // of the group
	filter string

	mu      sync.Mutex
	readers []*GroupReader
	idle    []*GroupReader // readers that wait for records, longest wait first
	woken   int            // readers that were signalled and have not called Next yet
	buffer  []*Lease       // handed out to this node, but not to a member yet
	queues  map[store.QueueRef]*groupQueue
	cancel  context.CancelFunc // ends the queues' pop loops; nil without members
	ctx     context.Context    //nolint:containedctx // of the pop loops
	renewed time.Time
}

// groupKey names a group in a hub, in the notation of SUBSCRIBE.
func groupKey(name, filter string) string { return topic.Shared(name, filter) }

// Group opens a reader of a shared group that reads a filter's queues.
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

// GroupReads reports whether a group with members on this node reads this filter or has this name ("$share/group/filter").
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

// unidle removes a reader from those that wait. Called with mu held.
func (g *group) unidle(r *GroupReader) {
	r.idle = false
	for i, other := range g.idle {
		if other == r {
			g.idle = append(g.idle[:i:i], g.idle[i+1:]...)
			return
		}
	}
}

// wake signals one waiting member for each buffered record, longest wait first, and asks the store for more records if members have room
// for more. Called with mu held.
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

// wants returns how many more records the members have room for, at most popBatch. Called with mu held.
func (g *group) wants() int {
	n := -len(g.buffer)
	for _, r := range g.idle {
		if n += r.room; n >= popBatch {
			break
		}
	}
	return min(n, popBatch)
}

// take takes over records that the store handed out. Records that do not match the filter (names of queues can collide) are acknowledged.
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

// keepGroups runs keep on all groups until the hub closes.
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

// keep signals further members if the signalled ones do not take their records, gives back records that nobody takes, and extends the
// visibility timeout of records that members hold. It reports whether nothing is left of the group.
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
		// The signalled members seem to have no room: move them to the end of the line.
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

// stopGroups ends the background work of groups. Once it returns, no more work starts under a group's mutex.
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

// drainGroups waits, up to drainTimeout, until the store knows what members acknowledged or gave back.
func (h *Hub) drainGroups() {
	deadline := time.Now().Add(drainTimeout)
	for time.Now().Before(deadline) {
		h.mu.Lock()
		busy := false
		for _, g := range h.groups {
			g.mu.Lock()
			for _, q := range g.queues {
				// While the group has members, the store may still hand out records to them.
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

// drainTimeout bounds how long closing a hub waits for the store.
const drainTimeout = 3 * time.Second

// groupCount returns how many groups have members on this node.
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
