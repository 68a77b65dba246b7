package cluster

import (
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"
)

// peer is another node.
type peer struct {
	id string
	// instance distinguishes successive processes of the node; empty before the node was heard from.
	instance string
	// heard is when a letter from it was last read; zero for a node that is only listed in the metadata.
	heard time.Time
	// unanswered is when the first letter that it has not answered was stored; zero if no answer is due. Only an answer clears it: a letter
	// from the node does not show that the node reads its inbox.
	unanswered time.Time
	// answers counts its answers. An answer may be read before this node knows that its letter is stored.
	answers int
	// without: this node has gone on without the peer, and has not told it yet what was taken meanwhile.
	without bool
	taken   taken
	// asked is when it was last pinged.
	asked time.Time
}

// silent reports whether a peer has certainly stopped: a letter to it was stored a whole lease ago, and it has not answered as far as this
// node has read its inbox. Called with mu held.
func (c *Cluster) silent(p *peer, now time.Time) bool {
	return c.overdue(p, c.fresh) && !c.stale(now)
}

// overdue reports whether a letter to a peer was stored a whole lease before a time, and the peer has not answered. Called with mu held.
func (c *Cluster) overdue(p *peer, at time.Time) bool {
	return !p.unanswered.IsZero() && at.Sub(p.unanswered) >= c.o.Lease
}

// suspects reports whether a peer would be silent if this node had read its inbox until now. Called with mu held.
func (c *Cluster) suspects(now time.Time) bool {
	for _, p := range c.peers {
		if c.overdue(p, now) && !c.overdue(p, c.fresh) {
			return true
		}
	}
	return false
}

// heard records a sign of life. Called with mu held.
func (c *Cluster) heard(id, instance string) {
	p := c.peers[id]
	if p == nil {
		p = &peer{id: id}
		c.peers[id] = p
	}
	again := p.instance != instance && p.instance != ""
	if again {
		c.log.Info("node was started again; what its earlier process held is free", "node", id)
		c.loseUntold()
		c.free(id)
		c.isBack(p)
	}
	if p.instance != instance {
		p.unanswered = time.Time{} // nothing was asked of this process yet
	}
	p.instance, p.heard = instance, time.Now()
	delete(c.gones, id)
	if again && slices.Contains(c.members, id) { // else look adds it
		// It may have been alone as far as it knew, and have granted client ids about which this node decides.
		c.callAdded(c.decided(), []string{id})
	}
}

// decided returns the buckets about which this node decides. Called with mu held.
func (c *Cluster) decided() (set bucketSet) {
	for b, t := range c.tables {
		if t != nil {
			set.add(b)
		}
	}
	return set
}

// answered records that a peer has read a letter to it. Called with mu held.
func (c *Cluster) answered(id string) {
	if p := c.peers[id]; p != nil {
		p.unanswered = time.Time{}
		p.answers++
	}
}

// answersOf returns how often a node has answered. Called with mu held.
func (c *Cluster) answersOf(id string) int {
	if p := c.peers[id]; p != nil {
		return p.answers
	}
	return 0
}

// left forgets a node that has shut down cleanly. Called with mu held.
func (c *Cluster) left(id string) {
	c.loseUntold()
	delete(c.peers, id)
	c.gones[id] = time.Now()
	for _, q := range c.questions {
		c.answer(q, id, nil, errSilent)
	}
	c.free(id)
}

// goneFor is how long nobody waits for a node that said that it is shutting down although the metadata lists it.
const goneFor = time.Minute

// look updates the members, and with them the owners of buckets. Called with mu held.
func (c *Cluster) look() {
	now := time.Now()
	c.lookForOthers(now)
	members := []string{c.o.NodeID}
	for id, p := range c.peers {
		if !p.heard.IsZero() && !c.silent(p, now) {
			members = append(members, id)
		}
	}
	slices.Sort(members)
	if slices.Equal(members, c.members) {
		return
	}
	for _, id := range c.members {
		if !slices.Contains(members, id) {
			c.log.Warn("node does not answer, or has left; its clients may connect elsewhere", "node", id)
		}
	}
	var added []string
	for _, id := range members {
		if id != c.o.NodeID && !slices.Contains(c.members, id) {
			added = append(added, id)
		}
	}
	alone := len(members) == 1
	held := c.wasStale || c.Fenced()
	c.forsaken(members)
	c.members = members
	var mine, kept bucketSet
	for b := range buckets {
		c.owners[b] = ownerOf(b, members)
		switch {
		case c.owners[b] != c.o.NodeID || alone: // the new owner calls the roll, which includes claims that wait
			c.tables[b] = nil
		case c.tables[b] == nil:
			mine.add(b)
		default:
			kept.add(b)
		}
	}
	if alone {
		clear(c.asking)
		c.rolls = nil
		if !c.shared.Load() {
			c.wasStale, c.waking, c.absent = false, nil, false
		}
		c.settled.Do(func() { close(c.ready) })
		c.grantAll()
		if held {
			c.unfenced()
		}
		return
	}
	if mine != (bucketSet{}) {
		c.callRoll(mine)
	}
	if len(added) > 0 {
		c.callAdded(kept, added)
	}
	c.announce(nil)
}

// lookForOthers updates whether other nodes may be there. Nodes that have stopped count, and those that the metadata lists: they may wake,
// and what holds among live nodes must hold then. A node that has not read the metadata for a while does not know whether another one has
// started: it has to read its inbox, as if there were one. Called with mu held.
func (c *Cluster) lookForOthers(now time.Time) {
	shared := c.shared.Load()
	listed := len(c.peers) > 0 || c.back
	others := listed || now.Sub(c.listed) > c.o.Lease*3/5
	switch {
	case c.stale(now): // whoever is there, it goes on once it has read its inbox
		others = true
	case !others && c.listed.After(c.fresh): // there was nobody
		c.setFresh(c.listed)
	case listed && !shared: // the first one waits for a lease, but may have begun to a moment ago
		c.setFresh(now.Add(-c.o.Lease * 3 / 10))
	}
	c.shared.Store(others)
}

// ownerOf returns the member that owns a bucket. All nodes with the same members agree, and a change of the members moves few buckets.
func ownerOf(bucket int, members []string) string {
	best, owner := uint64(0), ""
	for _, id := range members {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id))
		_, _ = h.Write([]byte{0, byte(bucket), byte(bucket >> 8)})
		v := h.Sum64() * 0x9E3779B97F4A7C15
		if v ^= v >> 29; owner == "" || v > best {
			best, owner = v, id
		}
	}
	return owner
}

// alone reports whether no other node is live. Called with mu held.
func (c *Cluster) alone() bool { return len(c.members) <= 1 }

// discover adds nodes that the metadata lists and that were not heard from yet, and pings nodes that are quiet. Called with mu held.
func (c *Cluster) discover(named []string, now time.Time) {
	c.back = false
	for _, id := range named {
		switch {
		case id == c.o.NodeID || c.peers[id] != nil:
		case now.Sub(c.gones[id]) < goneFor && c.waking == nil: // one that wakes has read an old letter
			c.back = true
		default:
			c.peers[id] = &peer{id: id}
		}
	}
	for id, at := range c.gones {
		if now.Sub(at) >= goneFor {
			delete(c.gones, id)
		}
	}
	for id, p := range c.peers {
		isNamed := slices.Contains(named, id)
		owes := !p.unanswered.IsZero() && now.Sub(p.unanswered) > c.o.Lease/4 // not everything is answered at once
		switch {
		case p.heard.IsZero() && !isNamed:
			delete(c.peers, id)
		case !isNamed && c.silent(p, now) && now.Sub(p.heard) > forgetAfter:
			delete(c.peers, id)
			c.free(id)
		case (owes || now.Sub(p.heard) > c.o.Lease/4) && now.Sub(p.asked) > c.o.Lease/4:
			p.asked = now
			c.post(id, message{Kind: kindPing})
		}
	}
}

// forgetAfter is when a silent node that the metadata does not list is forgotten.
const forgetAfter = time.Hour

// stale reports whether this node does not know the present content of its inbox: it may have missed that it has to yield. While nobody
// else is listed, there is nothing to miss. Called with mu held.
func (c *Cluster) stale(now time.Time) bool {
	return now.Sub(c.fresh) > c.o.Lease*4/5
}

// Fenced reports whether sessions must not send or commit, because other nodes may have taken them over without this node's knowledge.
func (c *Cluster) Fenced() bool {
	return c != nil && time.Since(c.began) > time.Duration(c.freshUntil.Load())
}

// FencedAt returns when Fenced will be true unless this node hears from the store before; ok is false if that is not known.
func (c *Cluster) FencedAt() (at time.Time, ok bool) {
	if c == nil {
		return time.Time{}, false
	}
	until := c.freshUntil.Load()
	return c.began.Add(time.Duration(until)), until != math.MaxInt64
}

// Shared reports whether there are other nodes, which may have stopped, or may be.
func (c *Cluster) Shared() bool { return c != nil && c.shared.Load() }

// setFresh records that this node knew the content of its inbox at a given time, or that nobody could write to it. Called with mu held.
func (c *Cluster) setFresh(at time.Time) {
	c.fresh = at
	c.freshUntil.Store(int64(at.Sub(c.began) + c.o.Lease*4/5))
}

// proven records that everything in the inbox before one of the node's own letters was read. After a stop, announcements that arrived
// meanwhile are acted on before sessions go on: the nodes that sent them have not waited for this one. Called with mu held.
func (c *Cluster) proven(sent time.Duration) {
	at := c.began.Add(sent)
	if (c.wasStale || c.Fenced()) && len(c.acted) > 0 {
		tells := slices.Collect(maps.Keys(c.acted))
		c.wg.Go(func() {
			for _, over := range tells { // each takes at most answerTime
				<-over
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.stopped {
				c.refreshed(at)
			}
		})
		return
	}
	c.refreshed(at)
}

// refreshed records that this node knows what was in its inbox at a given time. Called with mu held.
func (c *Cluster) refreshed(at time.Time) {
	if at.Before(c.fresh) {
		return
	}
	held := c.Fenced()
	if (held || c.wasStale) && !c.mayGoOn(at) {
		return
	}
	c.absent = false
	c.setFresh(at)
	switch {
	case c.stale(time.Now()):
		return
	case !c.wasStale && held: // it was fenced for less than a tick
		c.unfenced()
		return
	case !c.wasStale:
		return
	}
	c.wasStale = false
	c.log.Warn("this node reads its inbox again; its sessions go on")
	// What the tables say is out of date. In particular claims that came meanwhile may be over: a node that has gone on without this one
	// does not tell it. The answers to the roll call include the claims that wait.
	if !c.alone() {
		var mine bucketSet
		for b := range buckets {
			if c.owners[b] == c.o.NodeID {
				mine.add(b)
			}
		}
		c.callRoll(mine)
	}
	c.unfenced()
}

// unfenced lets held sessions go on. Called with mu held.
func (c *Cluster) unfenced() {
	if c.o.Unfenced != nil && !c.stopped {
		c.wg.Go(c.o.Unfenced)
	}
}

// tick does everything that depends on time. Called with mu held.
func (c *Cluster) tick(named []string, now time.Time) {
	c.discover(named, now)
	c.look()
	if !c.shared.Load() {
		for _, r := range slices.Clone(c.rolls) { // the first ones, of nodes that are only listed
			c.complete(r)
		}
		return
	}
	if (now.Sub(c.proof) >= c.o.Lease/5 || c.suspects(now)) && c.proofs.Load() < 4 {
		c.proof = now
		c.proofs.Add(1)
		c.postWith(c.o.NodeID, message{Kind: kindSelf, Sent: int64(now.Sub(c.began))}, func() { c.proofs.Add(-1) })
	}
	if !c.wasStale && c.stale(now) {
		c.wasStale = true
		c.log.Warn("this node could not read its inbox in the store for most of its lease; its sessions are held until it can",
			"lease", c.o.Lease)
	}
	c.awake()
	c.repeat(now)
	c.judge(now)
}
