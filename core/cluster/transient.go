package cluster

import (
	"context"
	"time"
)

// A transient claim waits for no other node, only until its letter is stored. Until then, a later CONNECT of the client on another node
// could reach the owner first, and lose its client id to the older one. While the store does not take the letter the claim goes on without,
// and the letter then says that it is late: the owner orders it by the nodes' clocks.

const (
	// storedWait is how long a transient claim waits until its letter is stored. While an attempt to store it is under way, it waits for
	// the outcome, storedLongest in all: such a letter cannot say any more that it is late.
	storedWait    = time.Second
	storedLongest = 3 * time.Second
)

// posted is the state of the letter that announces a transient claim to another node. The mutex of the Cluster guards it.
type posted struct {
	// done is closed once the claim need not wait for the letter any more; nil: there is no letter.
	done chan struct{}
	over bool // done is closed
	// stored: the letter is in the owner's inbox.
	stored bool
	// late: the claim goes on, or has gone on, before the letter is stored.
	late bool
	// trying: an attempt to store the letter is under way.
	trying bool
}

// end ends the wait for the letter.
func (p *posted) end() {
	if !p.over {
		p.over = true
		close(p.done)
	}
}

// postTransient sends a transient claim to the owner of its bucket. The claim does not wait if letters to that node have not been stored
// for a while. Called with mu held.
func (c *Cluster) postTransient(cl *Claim, m message) {
	cl.posted.done = make(chan struct{})
	if b := c.boxes[cl.owner]; b != nil && !b.since.IsZero() && time.Since(b.since) >= storedWait {
		cl.posted.late = true
		cl.posted.end()
	}
	if !c.postOut(cl.owner, outgoing{m: m, made: cl.began, claim: cl}) {
		cl.posted.end()
	}
}

// awaitStored waits until the letter of a transient claim is stored, or the claim has waited long enough.
func (c *Cluster) awaitStored(ctx context.Context, cl *Claim) {
	if !cl.settles(ctx, storedWait) {
		c.mu.Lock()
		cl.posted.late = true // the next attempt says so
		trying := cl.posted.trying
		c.mu.Unlock()
		if trying {
			cl.settles(ctx, storedLongest-storedWait)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl.owner == c.o.NodeID && !cl.posted.stored && !cl.over && !c.alone() {
		m := cl.announcement(true)
		c.handleDirectly(cl, &m)
	}
}

// settles waits until the claim need not wait for its letter any more, for some time at most, and reports whether that came.
func (cl *Claim) settles(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-cl.posted.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-cl.c.ctx.Done():
	}
	return false
}

// trying begins an attempt to store messages. It returns them as they are now: claims that have waited long are late.
func (c *Cluster) trying(batch []outgoing) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	messages := make([]message, len(batch))
	for i := range batch {
		m := batch[i].m
		// The store did not take it, or the node was stopped, or the bucket has another owner now.
		m.Late = m.Late || !batch[i].made.IsZero() && time.Since(batch[i].made) >= storedWait
		if cl := batch[i].claim; cl != nil {
			cl.posted.trying = true
			m.Late = m.Late || cl.posted.late
		}
		messages[i] = m
	}
	return messages
}

// tried ends an attempt to store messages. again: there will be another one.
func (c *Cluster) tried(batch []outgoing, stored, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		if cl := batch[i].claim; cl != nil {
			cl.posted.trying, cl.posted.stored = false, stored
			if !again || cl.posted.late {
				cl.posted.end()
			}
		}
	}
}
