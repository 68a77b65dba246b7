package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// leaseState says who has a record that the store handed out to this node.
type leaseState uint8

const (
	leaseBuffered leaseState = iota // waits for a member
	leaseHeld                       // a member holds it
	leaseAcked                      // acknowledged; the store is being told
	leaseReturned                   // given back; the store is being told
	leaseLost                       // the visibility timeout passed: the store hands it out again
)

// Lease is a record of a shared group that the store handed out to this node. The node extends the record's visibility timeout until the
// record is acknowledged or given back, whatever happens to the member's connection.
type Lease struct {
	q      *groupQueue
	record *store.Record
	// Guarded by the group's mutex.
	receipt string
	until   time.Time // end of the visibility timeout
	since   time.Time // when it entered the buffer
	state   leaseState
	busy    bool // its visibility timeout is being extended, so there is no valid receipt right now
}

// Ack acknowledges the record, so that nobody gets it again. It does not block; a goroutine tells the store at once.
func (l *Lease) Ack() {
	l.q.g.mu.Lock()
	defer l.q.g.mu.Unlock()
	l.ack()
}

// Return gives records back. Other members get them in this order; members on this node get them at once.
func Return(leases []*Lease) {
	for len(leases) > 0 {
		g := leases[0].q.g
		n := 1
		for n < len(leases) && leases[n].q.g == g {
			n++
		}
		g.takeBack(leases[:n])
		leases = leases[n:]
	}
}

// takeBack takes records back from a member. They are the next to be handed out.
func (g *group) takeBack(leases []*Lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	buffer := make([]*Lease, 0, len(leases)+len(g.buffer))
	for _, l := range leases {
		if l.state != leaseHeld {
			continue
		}
		g.hub.metrics.groupReturned.Inc()
		if len(g.readers) == 0 {
			l.giveBack()
			continue
		}
		l.state, l.since = leaseBuffered, now
		buffer = append(buffer, l)
	}
	g.buffer = append(buffer, g.buffer...)
	g.wake()
}

// ack is Ack with the group's mutex held.
func (l *Lease) ack() { l.settle(leaseAcked) }

// giveBack returns the record to the store. Called with the group's mutex held.
func (l *Lease) giveBack() { l.settle(leaseReturned) }

func (l *Lease) settle(as leaseState) {
	if l.state > leaseHeld {
		return
	}
	l.state = as
	delete(l.q.open, l)
	if !l.busy {
		l.q.settled(l)
	}
}

// groupQueue is one of a group's queues. The group's mutex guards everything except ref, demand, warnMu and warned.
type groupQueue struct {
	g      *group
	ref    store.Group
	demand chan struct{} // one token: members want records

	open        map[*Lease]struct{} // neither acknowledged nor given back
	acks, backs []*Lease            // not reported to the store yet
	flushing    bool                // a goroutine is reporting to the store
	popping     int                 // calls of Pop under way

	warnMu sync.Mutex // a leaf lock; guards warned
	warned time.Time
}

// start starts asking for records, for as long as the group has members. Called with the group's mutex held.
func (q *groupQueue) start() {
	ctx, h := q.g.ctx, q.g.hub
	if ctx == nil || ctx.Err() != nil {
		return
	}
	h.wg.Go(func() { q.run(ctx) })
	q.ask()
}

func (q *groupQueue) ask() {
	select {
	case q.demand <- struct{}{}:
	default:
	}
}

// run asks the store for records while members have room for them.
func (q *groupQueue) run(ctx context.Context) {
	g := q.g
	for fails := 0; ; {
		g.mu.Lock()
		n := g.wants()
		g.mu.Unlock()
		if n <= 0 {
			select {
			case <-ctx.Done():
				return
			case <-q.demand:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		q.pops(1)
		handed, err := g.hub.store.Pop(ctx, q.ref, n, g.hub.hidden, popWait)
		if len(handed) > 0 {
			// The store may have waited before it handed out records. The timeout starts then, which is later than the call.
			g.take(q, handed, maxTime(began, time.Now().Add(-popSlack)).Add(g.hub.hidden))
		}
		q.pops(-1)
		if err == nil {
			fails = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		fails++
		q.warn("reading a shared group failed; trying again", err)
		if wait.For(ctx, min(time.Duration(fails)*100*time.Millisecond, 2*time.Second)) != nil {
			return
		}
	}
}

// pops counts the calls of the store that may hand out records.
func (q *groupQueue) pops(n int) {
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	q.popping += n
}

// busy reports whether the store has to be told something, or may still hand out records. Called with the group's mutex held.
func (q *groupQueue) busy() bool { return q.flushing || q.popping > 0 }

// warn logs a failure of the store, at most every warnEvery: while a failure lasts, calls fail many times a second.
func (q *groupQueue) warn(what string, err error) {
	q.warnMu.Lock()
	defer q.warnMu.Unlock()
	if time.Since(q.warned) < warnEvery {
		return
	}
	q.warned = time.Now()
	q.g.hub.log.Warn(what, "group", q.g.name, "filter", q.g.filter, "broker", q.ref.Broker, "error", err)
}

const warnEvery = 10 * time.Second

// popSlack is how long an answer of the store may take to arrive, for estimating when a visibility timeout ends.
const popSlack = 4 * time.Second

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settled queues a lease to be reported to the store. Called with the group's mutex held.
func (q *groupQueue) settled(l *Lease) {
	if l.state == leaseAcked {
		q.acks = append(q.acks, l)
	} else {
		q.backs = append(q.backs, l)
	}
	h := q.g.hub
	if q.flushing || h.ctx.Err() != nil {
		return
	}
	q.flushing = true
	h.wg.Go(q.flush)
}

const (
	// flushGather is how long acknowledgements are gathered. Acknowledgements of records that were handed out together share one call.
	flushGather = 3 * time.Millisecond
	flushBatch  = 512
	flushCall   = 10 * time.Second
)

// flush reports to the store until nothing is left to report. A record that could not be reported before its visibility timeout is handed
// out again.
func (q *groupQueue) flush() {
	h := q.g.hub
	for fails := 0; ; {
		_ = wait.For(h.ctx, flushGather)
		q.g.mu.Lock()
		acks, backs := take(&q.acks, flushBatch), take(&q.backs, flushBatch)
		if len(acks)+len(backs) == 0 || h.ctx.Err() != nil {
			q.flushing = false
			q.g.mu.Unlock()
			return
		}
		q.g.mu.Unlock()
		err := q.tell(acks, backs)
		if err == nil {
			fails = 0
			continue
		}
		if errors.Is(err, store.ErrClosed) {
			q.g.mu.Lock()
			q.acks, q.backs = nil, nil
			q.g.mu.Unlock()
			continue
		}
		fails++
		q.warn("telling the store of a shared group's acknowledgements failed; trying again", err)
		_ = wait.For(h.ctx, min(time.Duration(fails)*100*time.Millisecond, 2*time.Second))
	}
}

// tell makes one report to the store. What failed is kept for another attempt as long as its visibility timeout has not passed.
func (q *groupQueue) tell(acks, backs []*Lease) error {
	h := q.g.hub
	ctx, cancel := context.WithTimeout(h.ctx, flushCall)
	defer cancel()
	var ackErr, backErr error
	if len(acks) > 0 {
		ackErr = h.store.PopAck(ctx, q.ref, receiptsOf(acks))
	}
	if len(backs) > 0 {
		_, backErr = h.store.PopHide(ctx, q.ref, receiptsOf(backs), 0)
	}
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	if ackErr == nil {
		h.metrics.groupAcked.Add(float64(len(acks)))
	} else {
		q.acks = append(alive(acks), q.acks...)
	}
	if backErr != nil {
		q.backs = append(alive(backs), q.backs...)
		return backErr
	}
	return ackErr
}

func alive(leases []*Lease) []*Lease {
	now := time.Now()
	rest := make([]*Lease, 0, len(leases))
	for _, l := range leases {
		if now.Before(l.until) {
			rest = append(rest, l)
		}
	}
	return rest
}

// take removes up to n leases from the front of a list and returns them.
func take(list *[]*Lease, n int) []*Lease {
	n = min(n, len(*list))
	out := (*list)[:n:n]
	if *list = (*list)[n:]; len(*list) == 0 {
		*list = nil
	}
	return out
}

func receiptsOf(leases []*Lease) []string {
	out := make([]string, len(leases))
	for i, l := range leases {
		out[i] = l.receipt
	}
	return out
}

// renew extends the visibility timeout of records that members hold, once half of the timeout has passed. Called with the group's mutex
// held.
func (q *groupQueue) renew(now time.Time) {
	if q.g.hub.ctx.Err() != nil {
		return
	}
	var due []*Lease
	for l := range q.open {
		if !l.busy && l.until.Sub(now) < q.g.hub.hidden/2 {
			l.busy = true
			due = append(due, l)
		}
	}
	if len(due) == 0 {
		return
	}
	q.g.hub.wg.Go(func() {
		for len(due) > 0 {
			q.hide(take(&due, flushBatch))
		}
	})
}

// hide extends the visibility timeout of leases.
func (q *groupQueue) hide(leases []*Lease) {
	h := q.g.hub
	q.g.mu.Lock()
	list := receiptsOf(leases)
	q.g.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.ctx, flushCall)
	defer cancel()
	now := time.Now()
	next, err := h.store.PopHide(ctx, q.ref, list, h.hidden)
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	if err != nil && h.ctx.Err() == nil {
		q.warn("keeping records of a shared group hidden failed; trying again", err)
	}
	for i, l := range leases {
		l.busy = false
		switch {
		case err != nil && now.Before(l.until): // tried again
		case err != nil || next[i] == "":
			q.lose(l)
			continue
		default:
			l.receipt, l.until = next[i], now.Add(h.hidden)
		}
		if l.state == leaseAcked || l.state == leaseReturned {
			q.settled(l)
		}
	}
}

// lose handles a lease whose visibility timeout has passed. A member that has the record keeps it, and another member gets it too.
func (q *groupQueue) lose(l *Lease) {
	if l.state == leaseBuffered {
		for i, other := range q.g.buffer {
			if other == l {
				q.g.buffer = append(q.g.buffer[:i:i], q.g.buffer[i+1:]...)
				break
			}
		}
	}
	l.state = leaseLost
	delete(q.open, l)
	q.g.hub.metrics.groupLost.Inc()
}
