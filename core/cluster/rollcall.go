package cluster

import (
	"slices"
	"time"
)

// A node that becomes the owner of buckets, or hears a new node, calls the roll: all nodes report their claims to client ids of the
// buckets, and nothing is decided before they have.

// roll is a roll call; missing are the nodes whose answers are missing.
type roll struct {
	number  int64
	buckets bucketSet
	missing map[string]bool
	told    time.Time
}

// call asks a node for its claims. Called with mu held.
func (c *Cluster) call(id string, r *roll) {
	c.post(id, message{Kind: kindCall, Call: r.number, Buckets: r.buckets.String()})
}

// callRoll starts the ownership of buckets. Called with mu held.
func (c *Cluster) callRoll(mine bucketSet) {
	c.calls++
	now := time.Now()
	r := &roll{number: c.calls, buckets: mine, missing: map[string]bool{}, told: now}
	for id := range c.peers {
		r.missing[id] = true
	}
	for b := range buckets {
		if mine.has(b) {
			c.tables[b] = &table{call: r, seats: map[string]*seat{}}
		}
	}
	for id := range r.missing {
		c.call(id, r)
	}
	for _, m := range c.report(mine) {
		c.told(c.o.NodeID, &m)
	}
	c.rolls = append(c.rolls, r)
	c.complete(r)
}

// callAdded asks newly heard nodes for their claims, also to buckets that this node owns already (kept). Called with mu held.
func (c *Cluster) callAdded(kept bucketSet, added []string) {
	for _, r := range c.rolls { // a node that starts does not read what was in its inbox before
		for _, id := range added {
			r.missing[id] = true
			c.call(id, r)
		}
	}
	if kept == (bucketSet{}) {
		return
	}
	now := time.Now()
	c.calls++
	r := &roll{number: c.calls, missing: map[string]bool{}, told: now}
	for b := range buckets {
		if t := c.tables[b]; kept.has(b) && t != nil && t.call == nil {
			t.call = r
			r.buckets.add(b)
		}
	}
	for _, id := range added {
		r.missing[id] = true
		c.call(id, r)
	}
	c.rolls = append(c.rolls, r)
}

// called answers a roll call. Called with mu held.
func (c *Cluster) called(from string, m *message) {
	set, err := parseBuckets(m.Buckets)
	if err != nil {
		c.log.Warn("passing over a roll call that cannot be read", "from", from, "error", err)
		return
	}
	c.look() // the caller is live: from now on claims go to whoever then owns the bucket
	for _, answer := range c.report(set) {
		answer.Call = m.Call
		c.tell(from, answer)
	}
}

// reportEntries and reportBytes are the approximate bounds of one message of a report: its claims and their bytes.
const (
	reportEntries = 256
	reportBytes   = letterBytes / 2
)

// report lists this node's claims to client ids in the given buckets. Called with mu held.
func (c *Cluster) report(set bucketSet) []message {
	all := []message{{Kind: kindHeld}}
	size := 0
	for client, cl := range c.claims {
		if !set.has(bucketOf(client)) {
			continue
		}
		e := entry{Client: client, Claim: cl.id, Order: cl.order, Transient: cl.want.Transient, Fresh: cl.want.Fresh, Waits: cl.waits(),
			Owner: cl.want.Owner}
		last := &all[len(all)-1]
		if n := len(last.Entries); n == reportEntries || n > 0 && size+e.size() > reportBytes {
			all = append(all, message{Kind: kindHeld})
			last, size = &all[len(all)-1], 0
		}
		last.Entries = append(last.Entries, e)
		size += e.size()
	}
	all[len(all)-1].Last = true
	return all
}

// told handles a part of an answer to a roll call. Called with mu held.
func (c *Cluster) told(from string, m *message) {
	for i := range m.Entries {
		e := &m.Entries[i]
		t := c.tables[bucketOf(e.Client)]
		if t == nil {
			continue
		}
		if e.Waits {
			c.claimed(from, &message{Kind: kindClaim, Client: e.Client, Claim: e.Claim, Order: e.Order, Transient: e.Transient,
				Fresh: e.Fresh, Owner: e.Owner, Late: true}) // the node may have made it before it was stopped
			continue
		}
		c.merge(t, e.Client, &bid{node: from, id: e.Claim, order: e.Order, transient: e.Transient, fresh: e.Fresh, owner: e.Owner})
	}
	if !m.Last || from == c.o.NodeID {
		return
	}
	for _, r := range c.rolls {
		if r.number == m.Call {
			delete(r.missing, from)
			c.complete(r)
			return
		}
	}
}

// merge records the holder of a client id. Of two holders the later one stays. Called with mu held.
func (c *Cluster) merge(t *table, client string, n *bid) {
	s := t.seats[client]
	switch {
	case s == nil:
		t.seats[client] = &seat{holder: n}
	case s.holder.id == n.id, s.waiter != nil && s.waiter.id == n.id, n.precedes(s.holder), n.precedes(s.waiter):
	case s.holder.node == n.node || s.holder.order < n.order || s.holder.order == n.order && s.holder.id < n.id:
		old := s.holder
		s.holder, s.asked = n, false
		if old.node != n.node {
			c.evict(old, client, false)
		}
		if w := s.waiter; w != nil && w.order < n.order { // n came later than the claim that waits for the older one
			s.waiter = nil
			delete(c.asking, s)
			c.evict(w, client, false)
		}
	default:
		c.evict(n, client, false)
	}
}

// complete lets claims be decided once every node has answered. Called with mu held.
func (c *Cluster) complete(r *roll) {
	now := time.Now()
	for id := range r.missing {
		p := c.peers[id]
		if p != nil && c.silent(p, now) {
			c.goOn(p)
		}
		if p == nil || c.silent(p, now) {
			delete(r.missing, id)
		}
	}
	if len(r.missing) > 0 {
		return
	}
	c.rolls = slices.DeleteFunc(c.rolls, func(o *roll) bool { return o == r })
	for b := range buckets {
		t := c.tables[b]
		if t == nil || t.call != r {
			continue
		}
		t.call = nil
		put := t.later
		t.later = nil
		for i := range put {
			c.claimed(put[i].from, &put[i].m)
		}
	}
	if len(c.rolls) == 0 {
		c.settled.Do(func() { close(c.ready) })
		if c.alone() {
			c.grantAll()
		}
	}
}
