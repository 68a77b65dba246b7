package cluster

import (
	"context"
	"slices"
	"time"
)

// A node that was fenced does not know whether others have gone on without it. What it was told to yield is in its inbox, but who went on
// without it for a while decided about clients without knowing that they were connected there, and told nobody. So before its sessions go
// on it asks every node that it knows what was taken meanwhile. A node that goes on without another one keeps a list for that.

// waking is this node's return after it was fenced.
type waking struct {
	call  int64
	asked time.Time // last
	// missing are the nodes that have not answered, and when the question to each was stored; zero: it was not yet.
	missing map[string]time.Time
	// catching: the metadata is being read again, caught: it was.
	catching, caught bool
}

// takenMost and takenBytes bound the list of what was taken while a node was away, in client ids and in their bytes. Where there was more,
// all is taken.
const (
	takenMost  = 1 << 16
	takenBytes = 4 << 20
)

// taken is what others have taken since this node goes on without a node.
type taken struct {
	clients map[string]struct{}
	bytes   int
	all     bool // there was more than the list holds
}

// goOn notes that this node goes on without another one. Called with mu held.
func (c *Cluster) goOn(p *peer) {
	p.without, c.away = true, true
}

// took notes that a node has a client, for nodes that are away. Called with mu held.
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

// note notes a client that is somewhere else, or back.
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

// isBack forgets what was taken from a node that has been told, or that has begun anew. Called with mu held.
func (c *Cluster) isBack(p *peer) { p.without, p.taken = false, taken{} }

// askTaken asks all other nodes what they have taken. Called with mu held.
func (c *Cluster) askTaken() {
	c.calls++
	w := &waking{call: c.calls, missing: map[string]time.Time{}}
	c.waking = w
	for id, p := range c.peers {
		if !p.heard.IsZero() {
			w.missing[id] = time.Time{}
		}
	}
	w.ask(c)
}

// ask asks those whose letter is not stored yet: their boxes may have been full. Called with Cluster.mu held.
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

// went gives up what another node says was taken. Called with mu held.
func (c *Cluster) went(from string, m *message) {
	w := c.waking
	if w == nil || w.call != m.Call {
		return
	}
	if m.Fresh {
		c.loseAll()
	}
	for i := range m.Entries {
		if cl := c.claims[m.Entries[i].Client]; cl != nil {
			c.lose(cl)
		}
	}
	if m.Last {
		delete(w.missing, from)
		c.awake()
	}
}

// loseAll gives up everything. Called with mu held.
func (c *Cluster) loseAll() {
	for _, cl := range c.claims {
		c.lose(cl)
	}
}

// noteAbsence notes that this node reads its inbox again after a lease or more: others may have gone on without it. Called with mu held,
// for each letter before it is acted on.
func (c *Cluster) noteAbsence(now time.Time) {
	read := c.fresh
	if c.readTo.After(read) {
		read = c.readTo
	}
	if !c.alone() && now.Sub(read) >= c.o.Lease {
		c.absent = true
	}
}

// loseUntold gives up everything where this node was away for so long that others may have gone on without it: nobody can tell any more
// what one of them took that has ended, crashed or begun anew since. Called with mu held.
func (c *Cluster) loseUntold() {
	if c.absent {
		c.loseAll()
	}
}

// lose gives up a claim that somebody else may have had meanwhile. Called with mu held.
func (c *Cluster) lose(cl *Claim) {
	if !cl.waits() {
		cl.fate.CompareAndSwap(kept, missed)
		c.yield(c.o.NodeID, &message{Kind: kindYield, Client: cl.client, Claim: cl.id})
	}
}

// awake lets sessions go on once everybody has answered. Called with mu held.
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
		case c.stoppedBefore(p) && now.Sub(stored) >= min(candidateWait, c.o.Lease):
			delete(w.missing, id)
		case now.Sub(stored) >= c.o.Lease: // it has stopped, or is of a release that does not know the question
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

// stoppedBefore reports whether a node had stopped before this one read its inbox again, so that it took nothing meanwhile. It is asked as
// well, because it may have been started again by then, and is not waited for as long: it answers soon if it was. Called with mu held.
func (c *Cluster) stoppedBefore(p *peer) bool {
	return !p.unanswered.IsZero() && c.readTo.Sub(p.unanswered) >= c.o.Lease
}

// catchUp reads the metadata again, once everybody has answered: whoever registers a filter from then on knows that this node is there, and
// tells it. Called with mu held.
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

// mayGoOn reports whether a node that was fenced has heard from all others, and asks them otherwise. at is when the last own letter was
// sent that was read. Called with mu held.
func (c *Cluster) mayGoOn(at time.Time) bool {
	c.readTo = at
	if c.waking == nil {
		if at.Sub(c.fresh) > forgetAfter/2 { // others have forgotten what they took
			c.loseAll()
		}
		c.askTaken()
	}
	switch w := c.waking; {
	case len(w.missing) > 0:
		return false
	case c.o.CatchUp != nil && !w.caught:
		c.catchUp(w)
		return false
	}
	c.waking = nil
	return true
}

// forsaken notes nodes that were members and are none any more, because they do not answer. Called with mu held.
func (c *Cluster) forsaken(members []string) {
	for _, id := range c.members {
		if p := c.peers[id]; p != nil && !slices.Contains(members, id) {
			c.goOn(p)
		}
	}
}
