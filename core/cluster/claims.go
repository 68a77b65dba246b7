package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// ErrTakenOver says that a claim lost its client id to a later claim before it was granted.
var ErrTakenOver = errors.New("another connection uses this client id")

// ErrUnanswered says that a claim was not granted in time.
var ErrUnanswered = errors.New("the other nodes did not answer in time")

// Want describes a claim.
type Want struct {
	// Transient: the session begins anew and ends with its connection. Such a claim waits for no other node.
	Transient bool
	// Fresh: the session begins anew, so an older one ends.
	Fresh bool
	// Owner is a short identifier of the claim's owner. A claim with an owner does not give way to claims of other owners; those are lost.
	Owner string
}

// Claim is one connection's claim to its client id.
type Claim struct {
	c      *Cluster
	client string
	id     string
	want   Want
	order  int64
	began  time.Time
	// stale: this node did not know the present content of its inbox when the claim was made. What the claim ended is lost then.
	stale bool
	// silent is the owner node that was asked and has stopped.
	silent string

	// resolved is closed once the claim is granted, or is lost with err.
	resolved chan struct{}
	err      error
	granted  bool
	over     bool
	yielding bool
	fate     atomic.Int32 // kept, anew or missed; see Lost and Missed
	// next is the newer claim to the client id on this node that ended this one.
	next  atomic.Pointer[Claim]
	told  time.Time // when the owner node was last told
	owner string    // the owner node that was told
	// posted is the state of the letter that announces a transient claim.
	posted posted
	// direct: this node decided the claim before it had read it in its inbox.
	direct bool
}

// Client returns the client id.
func (cl *Claim) Client() string { return cl.client }

// The fates of a claim.
const (
	kept   = iota
	anew   // a newer connection has begun a new session
	missed // this node was fenced when it read that it has to yield: another node may have gone on without it
)

// Lost reports whether another node may have changed the session already. Nothing of this connection may be sent, stored, committed or
// recorded then. If a newer connection on this node ended the claim, that is so once the newer claim is lost. It takes no lock.
func (cl *Claim) Lost() bool { return cl != nil && (cl.fate.Load() != kept || cl.next.Load().Lost()) }

// Missed reports whether the claim is lost because this node did not read its inbox for too long. What has to happen at the end of this
// connection is then up to the newer connection.
func (cl *Claim) Missed() bool { return cl != nil && cl.fate.Load() == missed }

// waits reports whether the claim is undecided.
func (cl *Claim) waits() bool { return !cl.granted && !cl.want.Transient }

// Claim announces a connection and returns once this node owns the client id: no other node has a connection of it then, or changes its
// session. The caller must have ended older connections of the client on this node. It returns ErrTakenOver if a later connection came, or
// ErrUnanswered.
//
// A transient claim never fails. It returns once its letter is stored, so that every later CONNECT of the client comes behind it, or after
// storedLongest at most.
//
// Release ends the claim. A nil Cluster, and one whose node is alone, grants everything at once.
func (c *Cluster) Claim(ctx context.Context, client string, w Want) (*Claim, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // there is nothing to claim
	}
	c.mu.Lock()
	c.serial++
	now := time.Now()
	cl := &Claim{c: c, client: client, id: c.instance + strconv.FormatInt(c.serial, 36), want: w, order: now.UnixMicro(),
		began: now, stale: c.stale(now), resolved: make(chan struct{})}
	if old := c.claims[client]; old != nil {
		cl.order = max(cl.order, old.order+1)
		c.end(old, nil)
		old.next.Store(cl)
	}
	c.claims[client] = cl
	if c.alone() && (w.Transient || len(c.rolls) == 0) {
		c.took(client, c.o.NodeID)
		cl.resolve(nil)
		c.mu.Unlock()
		return cl, nil
	}
	if !w.Transient {
		c.pending[cl] = struct{}{}
	}
	c.announceOne(cl, now, false)
	c.mu.Unlock()
	if w.Transient {
		c.awaitStored(ctx, cl)
		return cl, nil
	}
	c.metrics.claims.Inc()
	select {
	case <-cl.resolved:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !cl.granted {
		cl.fate.CompareAndSwap(kept, missed) // and so are the claims that it ended: the owner node knows none of them any more
		c.end(cl, nil)
		return nil, fmt.Errorf("claiming client id %q: %w", client, cmp.Or(cl.err, ErrUnanswered))
	}
	c.metrics.waited.Observe(time.Since(now).Seconds())
	return cl, nil
}

// resolve ends the wait of a claim. Called with mu held.
func (cl *Claim) resolve(err error) {
	if cl.granted || cl.err != nil {
		return
	}
	cl.granted, cl.err = err == nil, err
	close(cl.resolved)
	delete(cl.c.pending, cl)
}

// SetOwner changes the owner of the claim.
func (cl *Claim) SetOwner(owner string) {
	if cl == nil {
		return
	}
	c := cl.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl.over || cl.want.Owner == owner {
		return
	}
	cl.want.Owner = owner
	if !c.alone() {
		c.tell(c.owners[bucketOf(cl.client)], message{Kind: kindOwner, Client: cl.client, Claim: cl.id, Owner: owner})
	}
}

// Release says that the connection is over, and that everything it did is committed and recorded. It may be called more than once.
func (cl *Claim) Release() {
	if cl == nil {
		return
	}
	cl.c.mu.Lock()
	defer cl.c.mu.Unlock()
	cl.c.end(cl, nil)
}

// end ends a claim. Called with mu held.
func (c *Cluster) end(cl *Claim, err error) {
	if cl.over {
		return
	}
	cl.over = true
	if c.stale(time.Now()) {
		cl.fate.CompareAndSwap(kept, missed) // nobody can tell this claim any more that its client was taken meanwhile
	}
	if err != nil {
		cl.resolve(err)
	}
	delete(c.pending, cl)
	if c.claims[cl.client] == cl {
		delete(c.claims, cl.client)
	}
	c.over(cl.client, cl.id)
}

// over tells the owner node that a claim is over. Called with mu held.
func (c *Cluster) over(client, id string) {
	if !c.alone() {
		c.tell(c.owners[bucketOf(client)], message{Kind: kindGone, Client: client, Claim: id})
	}
}

// announceOne tells the owner node about a claim. again: it was told before. Called with mu held.
func (c *Cluster) announceOne(cl *Claim, now time.Time, again bool) {
	cl.told, cl.owner = now, c.owners[bucketOf(cl.client)]
	if p := c.peers[cl.silent]; p == nil || !c.silent(p, now) {
		cl.silent = ""
	}
	m := cl.announcement(again)
	m.Silent = cl.silent
	switch {
	case cl.want.Transient:
		c.postTransient(cl, m)
	case cl.owner == c.o.NodeID && (again || c.alone()): // its letter was not read in time, or nobody else writes any
		c.handleDirectly(cl, &m)
	default:
		c.postOut(cl.owner, outgoing{m: m, made: cl.began})
	}
}

// announcement is the message that tells an owner about the claim. Called with mu held.
func (cl *Claim) announcement(late bool) message {
	return message{Kind: kindClaim, Client: cl.client, Claim: cl.id, Order: cl.order, Transient: cl.want.Transient, Fresh: cl.want.Fresh,
		Owner: cl.want.Owner, Late: late}
}

// handleDirectly handles this node's own claim, which this node also decides, without the way through its inbox. Called with mu held.
func (c *Cluster) handleDirectly(cl *Claim, m *message) {
	cl.direct, m.direct = true, true
	c.handle(c.o.NodeID, m)
}

// claimedHere handles this node's own claim, which this node also decides, once it was read in the inbox. The claim goes through the inbox
// so that it comes behind all claims of other nodes that were stored before. Called with mu held.
func (c *Cluster) claimedHere(m *message) {
	cl := c.claims[m.Client]
	open := cl != nil && cl.id == m.Claim
	if open {
		m.Owner = cl.want.Owner
	}
	m.Late = m.Late || !open || cl.direct // others may have come after it already
	c.handle(c.o.NodeID, m)
	if !open { // it has ended older ones all the same
		c.over(m.Client, m.Claim)
	}
}

// announce tells owner nodes about waiting claims: claims whose bucket has another owner now, and claims announced before a given time.
// Called with mu held.
func (c *Cluster) announce(before *time.Time) {
	now := time.Now()
	for cl := range c.pending {
		owner := c.owners[bucketOf(cl.client)]
		if owner != cl.owner {
			if p := c.peers[cl.owner]; p != nil && c.silent(p, now) {
				cl.silent = cl.owner
			}
			c.announceOne(cl, now, false)
		} else if before != nil && cl.told.Before(*before) {
			c.announceOne(cl, now, true)
		}
	}
}

// repeat announces claims again that have waited for repeatAfter. Called with mu held.
func (c *Cluster) repeat(now time.Time) {
	before := now.Add(-repeatAfter)
	c.announce(&before)
}

// grantAll grants all waiting claims, because this node is now alone. Called with mu held.
func (c *Cluster) grantAll() {
	for cl := range c.pending {
		c.took(cl.client, c.o.NodeID)
		cl.resolve(nil)
	}
}

// granted handles a grant from an owner node. Called with mu held.
func (c *Cluster) granted(from string, m *message) {
	cl := c.claims[m.Client]
	if cl == nil || cl.id != m.Claim {
		c.tell(from, message{Kind: kindGone, Client: m.Client, Claim: m.Claim})
		return
	}
	cl.order = max(cl.order, m.Order)
	cl.resolve(nil)
}

// yield gives up a claim because a later one came. A waiting claim ends at once; for a granted one the session is told. Called with mu
// held.
func (c *Cluster) yield(from string, m *message) {
	cl := c.claims[m.Client]
	switch {
	case cl == nil || cl.id != m.Claim:
		c.tell(from, message{Kind: kindGone, Client: m.Client, Claim: m.Claim})
	case cl.waits():
		c.end(cl, ErrTakenOver)
	case !cl.yielding:
		cl.yielding = true
		switch {
		case m.Fresh:
			cl.fate.Store(anew)
		case c.stale(time.Now()):
			cl.fate.Store(missed)
		}
		c.metrics.yields.Inc()
		if c.stopped {
			return
		}
		c.wg.Go(func() { c.give(cl, m.Fresh) })
	}
}

// yieldTimeout bounds how long handing over a session may take.
const yieldTimeout = 20 * time.Second

// give hands over the session of a claim, and then says so.
func (c *Cluster) give(cl *Claim, ends bool) {
	select {
	case c.yields <- struct{}{}:
	case <-c.ctx.Done():
		return
	}
	defer func() { <-c.yields }()
	ctx, cancel := context.WithTimeout(c.ctx, yieldTimeout)
	defer cancel()
	c.o.Yield(ctx, cl, ends)
	cl.Release()
}
