package cluster

import (
	"context"
	"slices"
	"time"
)

// A node that was fenced does not know whether other nodes have gone on without it. The yields sent to it are in its inbox. But a node that
// went on without it has decided about clients without knowing that they were connected here, and told nobody. So before its sessions go
// on, the node asks every node that it knows which clients were taken meanwhile. Each node that goes on without another keeps a list for
// this purpose.

// waking is this node's return after it was fenced.
type waking struct {
	call  int64
	began time.Time
	asked time.Time       // time of the last question
	known map[string]bool // the nodes that were asked
	// missing are the nodes that have not answered, with the time at which the question to each was stored; zero: not stored yet.
	missing map[string]time.Time
	// catching: the metadata is being read again; caught: that is done.
	catching, caught bool
}

// takenMost and takenBytes bound the list of clients taken while a node was away, in client ids and in their bytes. Beyond that, all
// clients count as taken.
const (
	takenMost  = 1 << 16
	takenBytes = 4 << 20
)

// taken are the client ids granted to other nodes since this node went on without a peer.
type taken struct {
	clients map[string]struct{}
	bytes   int
	all     bool // more were taken than the list holds
}

// goOn records that this node goes on without another one. Called with mu held.
func (c *Cluster) goOn(p *peer) {
	p.without, c.away = true, true
}

// took records, for nodes that are away, that a node has been granted a client id. Called with mu held.
func (c *Cluster) took(client, node string) {
	if !c.away {
		return
	}
	c.away = false
	for _, p := range c.peers {
		if p.without {
			c.away = true
			p.taken.note(client, p.id == node)
		}
	}
}

// note records that a client has gone to another node, or is back.
func (t *taken) note(client string, back bool) {
	_, listed := t.clients[client]
	switch {
	case back && listed:
		delete(t.clients, client)
		t.bytes -= len(client)
	case back, listed:
	case len(t.clients) >= takenMost, t.bytes+len(client) > takenBytes:
		t.all = true
	default:
		if t.clients == nil {
			t.clients = map[string]struct{}{}
		}
		t.clients[client] = struct{}{}
		t.bytes += len(client)
	}
}

// isBack forgets what was taken from a node that has now been told, or that was restarted. Called with mu held.
func (c *Cluster) isBack(p *peer) { p.without, p.taken = false, taken{} }

// askTaken asks all other nodes what was taken. Called with mu held.
func (c *Cluster) askTaken() {
	c.calls++
	c.waking = &waking{call: c.calls, began: time.Now(), known: map[string]bool{}, missing: map[string]time.Time{}}
	c.waking.askNew(c)
}

// askNew asks the nodes that were not asked yet. Some may only be listed so far. Called with Cluster.mu held.
func (w *waking) askNew(c *Cluster) {
	asks := false
	for id := range c.peers {
		if !w.known[id] {
			w.known[id], w.missing[id], asks = true, time.Time{}, true
		}
	}
	if asks {
		w.ask(c)
	}
}

// ask asks the nodes for which the question is not stored yet: their boxes may have been full. Called with Cluster.mu held.
func (w *waking) ask(c *Cluster) {
	w.asked = time.Now()
	for id, stored := range w.missing {
		if !stored.IsZero() {
			continue
		}
		c.postWith(id, message{Kind: kindWoke, Call: w.call}, func() {
			if stored, waits := w.missing[id]; waits && stored.IsZero() {
				w.missing[id] = time.Now()
			}
		})
	}
}

// woke tells a node that was away what was taken. Called with mu held.
func (c *Cluster) woke(from string, m *message) {
	answer := message{Kind: kindWent, Call: m.Call}
	p := c.peers[from]
	if p != nil && p.without {
		answer.Fresh = p.taken.all
		size := 0
		for client := range p.taken.clients {
			if e := (entry{Client: client}); len(answer.Entries) == reportEntries || size+e.size() > reportBytes {
				c.post(from, answer)
				answer, size = message{Kind: kindWent, Call: m.Call}, 0
			}
			e := entry{Client: client}
			answer.Entries = append(answer.Entries, e)
			size += e.size()
		}
		c.isBack(p)
	}
	answer.Last = true
	c.post(from, answer)
}

// went gives up the client ids that another node says were taken, whichever question it answers: it names each of them once. Called with mu
// held.
func (c *Cluster) went(from string, m *message) {
	w := c.waking
	if w == nil {
		return
	}
	if m.Fresh {
		c.loseAll()
	}
	for i := range m.Entries {
		switch cl := c.claims[m.Entries[i].Client]; {
		case cl == nil:
		case cl.waits() && !cl.stale: // its client did not wait for it
			c.end(cl, ErrTakenOver)
		default: // one that waits is late, so it gets the client id only if it is the later one
			c.lose(cl)
		}
	}
	if m.Last && w.call == m.Call {
		delete(w.missing, from)
		c.awake()
	}
}

// loseAll gives up all claims. Called with mu held.
func (c *Cluster) loseAll() {
	for _, cl := range c.claims {
		c.lose(cl)
	}
}

// noteAbsence records that this node reads its inbox again after a lease or more: other nodes may have gone on without it. Called with mu
// held, before each letter is acted on.
func (c *Cluster) noteAbsence(now time.Time) {
	read := c.fresh
	if c.readTo.After(read) {
		read = c.readTo
	}
	if now.Sub(read) >= c.o.Lease {
		c.absent = true
	}
}

// loseUntold gives up all claims if this node was away for so long that other nodes may have gone on without it. If one of them has ended,
// crashed or restarted since, nobody can tell which clients it took. Called with mu held.
func (c *Cluster) loseUntold() {
	if c.absent {
		c.loseAll()
	}
}

// lose gives up a claim whose client id another node may have had meanwhile. Called with mu held.
func (c *Cluster) lose(cl *Claim) {
	if !cl.waits() {
		cl.fate.CompareAndSwap(kept, missed)
		c.yield(c.o.NodeID, &message{Kind: kindYield, Client: cl.client, Claim: cl.id})
	}
}

// awake lets sessions go on once every node has answered. Called with mu held.
func (c *Cluster) awake() {
	w := c.waking
	if w == nil {
		return
	}
	now := time.Now()
	for id, stored := range w.missing {
		switch p := c.peers[id]; {
		case p == nil:
			delete(w.missing, id)
		case stored.IsZero():
		case c.stoppedBefore(p) && now.Sub(stored) >= min(stoppedWait, c.o.Lease):
			delete(w.missing, id)
		case now.Sub(stored) >= c.o.Lease: // it has stopped, or its release does not know the question
			delete(w.missing, id)
			c.loseUntold()
		}
	}
	switch {
	case len(w.missing) == 0:
		c.refreshed(c.readTo)
	case now.Sub(w.asked) >= repeatAfter:
		w.ask(c)
	}
}

// stoppedWait is how long to wait for a node that had stopped before. If it was restarted since, it answers within milliseconds.
const stoppedWait = time.Second

// stoppedBefore reports whether a node had stopped before this one read its inbox again, so that it took no clients meanwhile. Such a node
// is asked too, because it may have been restarted since, but the wait for it is shorter: if it was restarted, it answers soon. Called with
// mu held.
func (c *Cluster) stoppedBefore(p *peer) bool {
	return c.overdue(p, c.readTo)
}

// catchUp reads the metadata again once every node has answered: from then on, a node that registers a filter knows that this node is live,
// and announces the filter to it. Called with mu held.
func (c *Cluster) catchUp(w *waking) {
	if w.catching {
		return
	}
	w.catching = true
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, c.o.Lease)
		defer cancel()
		err := c.o.CatchUp(ctx)
		if c.ctx.Err() != nil {
			return
		}
		if err != nil {
			c.log.Warn("going on without what was added to the metadata while this node was stopped", "error", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		w.caught = true
		c.awake()
	})
}

// mayGoOn reports whether a node that was fenced has heard from all others and has caught up; if not, it asks them or starts to catch up.
// at is when the latest own letter that was read was sent. Called with mu held.
func (c *Cluster) mayGoOn(at time.Time) bool {
	if c.waking != nil && at.Sub(c.readTo) > c.o.Lease*4/5 {
		c.waking = nil // it was away again meanwhile
	}
	c.readTo = at
	if c.waking == nil {
		if len(c.peers) > 0 && at.Sub(c.fresh) > forgetAfter/2 { // the others have forgotten what they took
			c.loseAll()
		}
		c.askTaken()
	}
	w := c.waking
	w.askNew(c)
	switch now := time.Now(); {
	case len(w.missing) > 0:
		return false
	case c.o.CatchUp != nil && !w.caught:
		c.catchUp(w)
		return false
	case (c.back || len(c.peers) == 0) && !c.listed.After(w.began) && now.Sub(w.began) < c.o.Lease:
		return false // one that started meanwhile may not know this node
	}
	c.waking = nil
	return true
}

// forsaken records the nodes that are no longer members because they do not answer. Called with mu held.
func (c *Cluster) forsaken(members []string) {
	for _, id := range c.members {
		if p := c.peers[id]; p != nil && !slices.Contains(members, id) {
			c.goOn(p)
		}
	}
}
