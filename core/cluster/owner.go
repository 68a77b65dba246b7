package cluster

import (
	"cmp"
	"slices"
	"time"
)

// table is what an owner knows about one bucket.
type table struct {
	// call is the roll call that must be answered before claims are decided; nil once it is.
	call  *roll
	seats map[string]*seat
	// later are claims that came before the roll call was answered.
	later []later
}

type later struct {
	from string
	m    message
}

// seat is the state of one client id: who holds it, and who waits for it.
type seat struct {
	holder, waiter *bid
	// asked: the letter that asks the holder to yield was stored.
	asked bool
	// told is when the holder was last asked.
	told time.Time
}

// bid is a claim as the bucket's owner sees it.
type bid struct {
	node, id  string
	order     int64
	transient bool
	fresh     bool
	owner     string
	// direct: the bid did not come through the inbox, so older ones may come after it.
	direct bool
}

// precedes reports whether the process that made the other bid made this one before it. It has ended this one then: a process has one claim
// to a client id.
func (b *bid) precedes(other *bid) bool {
	if other == nil || b.node != other.node || len(b.id) < instanceSize || len(other.id) < instanceSize ||
		b.id[:instanceSize] != other.id[:instanceSize] {
		return false
	}
	mine, others := b.id[instanceSize:], other.id[instanceSize:] // numbers to base 36
	return cmp.Or(cmp.Compare(len(mine), len(others)), cmp.Compare(mine, others)) < 0
}

// isOlder reports whether the other bid is of a later CONNECT although it came first. That can be if this one is late, or the other one did
// not come through the inbox; the nodes' clocks decide then.
func (b *bid) isOlder(other *bid, late bool) bool {
	return other != nil && (late || other.direct) && !other.precedes(b) && other.order >= b.order
}

// maxHops bounds how often a claim is passed on between nodes that do not agree on the owner of its bucket.
const maxHops = 2

// claimed handles a claim. Called with mu held.
func (c *Cluster) claimed(from string, m *message) {
	now := time.Now()
	if p := c.peers[m.Silent]; p != nil && !p.unanswered.IsZero() && now.Sub(p.unanswered) >= c.o.Lease/2 {
		p.unanswered = c.fresh.Add(-c.o.Lease) // it did not answer the claimant for a lease, and does not answer here either
		c.look()
	}
	b := bucketOf(m.Client)
	if owner := c.owners[b]; owner != c.o.NodeID && m.Hops < maxHops && !c.alone() {
		on := *m
		on.Hops++
		on.From = from
		on.Late = on.Transient // a later claim may have found the new owner sooner
		c.tell(owner, on)
		return
	}
	if c.tables[b] == nil {
		switch {
		case c.alone() && from != c.o.NodeID:
			// The node is no member: it has stopped, or wakes. Its claim may be from before, and this node's own connections are in no
			// table. Once the node answers, the roll call includes its claims.
			return
		case c.alone() && len(c.rolls) > 0:
			return // complete grants it
		case c.alone():
			c.took(m.Client, from)
			c.tell(from, message{Kind: kindGrant, Client: m.Client, Claim: m.Claim, Order: m.Order})
			return
		}
		var set bucketSet
		set.add(b)
		c.callRoll(set)
	}
	t := c.tables[b]
	if t.call != nil || c.stale(now) {
		for i := range t.later {
			if t.later[i].m.Claim == m.Claim {
				return // a repetition
			}
		}
		t.later = append(t.later, later{from, *m})
		c.waiting(from, m)
		return
	}
	c.decide(t, from, m)
}

// decide grants a client id to a claim, or makes the claim wait. Called with mu held.
func (c *Cluster) decide(t *table, from string, m *message) {
	n := &bid{node: from, id: m.Claim, order: m.Order, transient: m.Transient, fresh: m.Fresh, owner: m.Owner, direct: m.direct}
	s := t.seats[m.Client]
	if s == nil {
		s = &seat{holder: n}
		t.seats[m.Client] = s
		c.grant(s, m.Client)
		return
	}
	switch {
	case s.holder.id == n.id:
		s.holder.direct = s.holder.direct && n.direct
		c.grant(s, m.Client)
		return
	case s.waiter != nil && s.waiter.id == n.id:
		c.waiting(from, m)
		return
	case n.precedes(s.holder), n.precedes(s.waiter): // it is over
		return
	case s.holder.owner != "" && s.holder.owner != n.owner && c.lives(s.holder):
		c.evict(n, m.Client, false)
		return
	case n.isOlder(s.holder, m.Late), n.isOlder(s.waiter, m.Late):
		c.evict(n, m.Client, false)
		return
	}
	n.order = max(n.order, s.holder.order+1)
	if w := s.waiter; w != nil {
		n.order = max(n.order, w.order+1)
		s.waiter = nil
		if w.node != n.node {
			c.evict(w, m.Client, false)
		}
	}
	switch old := s.holder; {
	case old.node == n.node: // the older connection on that node is over
		s.holder = n
		c.grant(s, m.Client)
	case n.transient || n.fresh || old.transient:
		s.holder = n
		c.grant(s, m.Client)
		c.evict(old, m.Client, n.transient || n.fresh)
	default:
		s.waiter = n
		c.ask(s, m.Client)
		c.waiting(from, m)
	}
}

// lives reports whether the connection of a bid may still be there. Once its node has stopped, it keeps its client id from nobody: there is
// no other node that would end the claim. Called with mu held.
func (c *Cluster) lives(b *bid) bool {
	if b.node == c.o.NodeID {
		return true
	}
	p := c.peers[b.node]
	return p != nil && !c.silent(p, time.Now())
}

// evict makes a node give up a claim, without waiting for that. ends: the session is over. Called with mu held.
func (c *Cluster) evict(b *bid, client string, ends bool) {
	c.tell(b.node, message{Kind: kindYield, Client: client, Claim: b.id, Fresh: ends})
}

// ask asks the holder to yield to the waiter. Called with mu held.
func (c *Cluster) ask(s *seat, client string) {
	c.asking[s] = client
	s.told = time.Now()
	m := message{Kind: kindYield, Client: client, Claim: s.holder.id}
	if s.holder.node == c.o.NodeID {
		s.asked = true
		c.handle(s.holder.node, &m)
		return
	}
	holder := s.holder
	c.postWith(s.holder.node, m, func() { s.asked = s.asked || s.holder == holder })
}

// waiting tells a claimant that it has to wait for the older connection. Called with mu held.
func (c *Cluster) waiting(from string, m *message) {
	if from != c.o.NodeID {
		c.post(from, message{Kind: kindWait, Client: m.Client, Claim: m.Claim})
	}
}

// grant tells the holder that it has the client id. Called with mu held.
func (c *Cluster) grant(s *seat, client string) {
	c.took(client, s.holder.node)
	if h := s.holder; !h.transient {
		c.tell(h.node, message{Kind: kindGrant, Client: client, Claim: h.id, Order: h.order})
	}
}

// gone ends a claim. If it was the holder's, the waiter gets the client id. Called with mu held.
func (c *Cluster) gone(client, id string) {
	b := bucketOf(client)
	t := c.tables[b]
	if t == nil {
		return
	}
	t.later = slices.DeleteFunc(t.later, func(l later) bool { return l.m.Claim == id })
	s := t.seats[client]
	switch {
	case s == nil:
	case s.holder.id == id:
		c.promote(t, s, client)
	case s.waiter != nil && s.waiter.id == id:
		s.waiter = nil
		delete(c.asking, s)
	}
}

// renewed changes the owner identity of a claim. Called with mu held.
func (c *Cluster) renewed(m *message) {
	t := c.tables[bucketOf(m.Client)]
	if t == nil {
		return
	}
	for i := range t.later {
		if t.later[i].m.Claim == m.Claim {
			t.later[i].m.Owner = m.Owner
		}
	}
	s := t.seats[m.Client]
	switch {
	case s == nil:
	case s.holder.id == m.Claim:
		s.holder.owner = m.Owner
	case s.waiter != nil && s.waiter.id == m.Claim:
		s.waiter.owner = m.Owner
	}
}

// promote gives a client id to the claim that waits for it. Called with mu held.
func (c *Cluster) promote(t *table, s *seat, client string) {
	delete(c.asking, s)
	if s.waiter == nil {
		delete(t.seats, client)
		return
	}
	s.holder, s.waiter, s.asked = s.waiter, nil, false
	c.grant(s, client)
}

// free ends all claims of a node, because its process is gone. Called with mu held.
func (c *Cluster) free(node string) {
	for _, t := range c.tables {
		if t == nil {
			continue
		}
		t.later = slices.DeleteFunc(t.later, func(l later) bool { return l.from == node })
		for client, s := range t.seats {
			if s.waiter != nil && s.waiter.node == node {
				s.waiter = nil
				delete(c.asking, s)
			}
			if s.holder.node == node {
				c.promote(t, s, client)
			}
		}
	}
	for _, r := range slices.Clone(c.rolls) {
		if c.peers[node] != nil {
			c.call(node, r)
			continue
		}
		c.complete(r)
	}
}

// repeatAfter is when a message that was not answered is repeated.
const repeatAfter = time.Second

// judge goes on without nodes that have certainly stopped, and asks the others again. Called with mu held.
func (c *Cluster) judge(now time.Time) {
	for s, client := range c.asking {
		t := c.tables[bucketOf(client)]
		if t == nil || t.seats[client] != s || s.waiter == nil {
			delete(c.asking, s)
			continue
		}
		p := c.peers[s.holder.node]
		switch {
		case s.holder.node == c.o.NodeID:
		case p == nil, s.asked && c.silent(p, now):
			c.log.Warn("going on without a node that does not answer", "client", client, "node", s.holder.node)
			c.promote(t, s, client)
		case now.Sub(s.told) >= repeatAfter:
			c.ask(s, client)
		}
	}
	for _, r := range slices.Clone(c.rolls) {
		if now.Sub(r.told) >= repeatAfter {
			r.told = now
			for id := range r.missing {
				c.call(id, r)
			}
		}
		c.complete(r)
	}
}
