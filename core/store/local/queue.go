package local

import (
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// appendQueue holds the appends that wait for the committer. The store's budget bounds its length.
//
// While few appends wait, they leave in order of arrival. Once more wait than one group commit takes, each publisher gets an equal share of
// the commit's bytes. So a client that floods the store delays itself and hardly anybody else. The appends of one publisher always keep
// their order.
//
// While some publishers send little and others much, what is much leaves in small groups, one after another, and the disk rests between
// them. While the disk is too slow for what comes, it does not leave at all. The rest waits for the disk here, and not in pebble, where
// everybody would wait with it. If nobody sends little, nobody gains from that, and all leave as ever.
type appendQueue struct {
	mu     sync.Mutex
	ops    []*appendOp
	bytes  int // of ops
	closed bool
	wake   chan struct{} // one token: there are new ops, or it is time to look again
	held   bool          // the committer waits although there are ops

	// lightAt is when a publisher last sent little while others sent much; heavyAt is since when the rest waits, zero if nothing does.
	lightAt, heavyAt time.Time
	// away is when the heavy group left that is not stored yet, zero if there is none; rest is until when no other one leaves.
	away, rest time.Time
	passed     bool // light ones have left since the last heavy group
	// given is what publishers took since givenAt, in bytes, as far as anybody waited.
	given   map[string]int
	givenAt time.Time
}

// push adds ops; it returns false if the queue is closed.
func (q *appendQueue) push(ops ...*appendOp) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	first, held := len(q.ops) == 0, q.held
	q.ops = append(q.ops, ops...)
	for _, op := range ops {
		q.bytes += op.size
	}
	q.mu.Unlock()
	if first || held {
		q.look()
	}
	return true
}

// look makes a waiting take look at the queue again.
func (q *appendQueue) look() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the appends to commit next. spare must be empty; take returns it filled, or keeps it in place of the returned slice. heavy
// means that landed must be called once they are stored. take blocks until there are appends, and returns false once the queue is closed.
// pressed reports whether only light appends may leave now; when its answer changes, look must be called.
func (q *appendQueue) take(spare []*appendOp, pressed func() bool) (ops []*appendOp, heavy, ok bool) {
	for {
		var over <-chan time.Time // nil unless something is held back
		slow := pressed()
		q.mu.Lock()
		q.held = false
		if q.closed {
			q.mu.Unlock()
			return spare, false, false
		}
		if len(q.ops) > 0 {
			if ops, heavy = q.choose(spare, slow); len(ops) > 0 {
				q.mu.Unlock()
				return ops, heavy, true
			}
			q.held = true
			over = time.After(q.patience(slow))
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-over:
		}
	}
}

// landed tells the queue that the last heavy group is stored.
func (q *appendQueue) landed() {
	q.mu.Lock()
	if !q.away.IsZero() {
		now := time.Now()
		q.rest, q.away = now.Add(restFactor*now.Sub(q.away)), time.Time{}
	}
	held := q.held
	q.mu.Unlock()
	if held {
		q.look()
	}
}

const (
	// shareStep is how many bytes a publisher may take in one round of takeShares. A publisher sends little if no more of it waits, and if it
	// took no more than heavySender since givenAt. It sends much if more than heavySender waits.
	shareStep   = 16 << 10
	heavySender = 64 << 10
	// heavyBytes is the size of a group of heavy appends while others send little. A larger append goes alone.
	heavyBytes = 256 << 10
	// After a heavy group, the disk is left to light appends for restFactor times as long as the group took.
	restFactor = 1
	// heldMost is how long the queue holds heavy appends back. Then a group commit takes some of them, whatever the disk does.
	heldMost = time.Second
)

// choose moves to out what leaves next, or returns all of it and keeps out instead. It returns nothing if all is held back. Called with mu
// held.
func (q *appendQueue) choose(out []*appendOp, slow bool) (ops []*appendOp, heavy bool) {
	if q.bytes <= heavySender || q.bytes <= heavyBytes && !slow {
		return q.all(out), false
	}
	light, mixed := q.light(out)
	hold := mixed && (q.patience(slow) > 0 || len(light) > 0 && !q.passed)
	if !hold {
		clear(light)
	}
	switch {
	case hold:
		q.passed = true
		ops = q.remove(light)
		if q.heavyAt.IsZero() && len(q.ops) > 0 {
			q.heavyAt = time.Now()
		}
	case mixed:
		q.heavyAt, q.away, q.passed = time.Time{}, time.Now(), false
		ops = q.takeShares(out, heavyBytes)
	case q.bytes > commitBytes:
		q.heavyAt = time.Time{}
		ops = q.takeShares(out, commitBytes)
	default:
		ops = q.all(out)
	}
	for _, op := range ops {
		if op.topic != nil {
			q.given[op.msg.Publisher] += op.size
		}
	}
	return ops, mixed && !hold
}

// patience returns for how long heavy appends have to wait yet. Called with mu held.
func (q *appendQueue) patience(slow bool) time.Duration {
	most := heldMost
	if !q.heavyAt.IsZero() {
		most -= time.Since(q.heavyAt)
	}
	if slow || !q.away.IsZero() {
		return most
	}
	return min(most, time.Until(q.rest))
}

// all takes everything, and keeps out in its place. Called with mu held.
func (q *appendQueue) all(out []*appendOp) []*appendOp {
	ops := q.ops
	q.ops, q.bytes, q.heavyAt = out, 0, time.Time{}
	return ops
}

// light appends to out what each publisher sent first, up to shareStep bytes of it. It reports whether one sends much and others send
// little, or did so in the last heldMost. Called with mu held.
func (q *appendQueue) light(out []*appendOp) ([]*appendOp, bool) {
	now := time.Now()
	if now.Sub(q.givenAt) >= heldMost {
		q.givenAt, q.given = now, make(map[string]int)
	}
	sent, most := make(map[string]int), 0 // bytes, by publisher
	for i, op := range q.ops {
		if op.topic == nil {
			if i == 0 {
				return append(out, op), true
			}
			break
		}
		n := sent[op.msg.Publisher] + op.size
		sent[op.msg.Publisher] = n
		most = max(most, n)
		if n <= shareStep && len(out) < commitOps {
			out = append(out, op)
		}
	}
	if most <= heavySender {
		return out, false
	}
	for publisher, n := range sent {
		if n <= shareStep && q.given[publisher] <= heavySender {
			q.lightAt = now
			break
		}
	}
	return out, now.Sub(q.lightAt) < heldMost
}

// takeShares moves a group of appends to out, of at most so many bytes or one append. The oldest append is always among them, so none waits for ever. The others
// are taken from the publishers in turn. Called with mu held.
func (q *appendQueue) takeShares(out []*appendOp, most int) []*appendOp {
	// Appends behind a barrier stay behind it.
	upTo, before := 0, 0
	for upTo < len(q.ops) && q.ops[upTo].topic != nil {
		before += q.ops[upTo].size
		upTo++
	}
	if before <= most {
		upTo = min(upTo+1, len(q.ops)) // including the barrier
		return q.remove(append(out, q.ops[:upTo]...))
	}

	type line struct {
		ops    []*appendOp
		credit int // bytes
	}
	var lines []*line
	of := make(map[string]*line)
	for _, op := range q.ops[:upTo] {
		l := of[op.msg.Publisher]
		if l == nil {
			l = new(line)
			of[op.msg.Publisher], lines = l, append(lines, l)
		}
		l.ops = append(l.ops, op)
	}
	taken := 0
	move := func(l *line) {
		taken += l.ops[0].size
		out = append(out, l.ops[0])
		l.ops = l.ops[1:]
	}
	lines[0].credit = -lines[0].ops[0].size
	move(lines[0])
	for open := true; open && len(out) < commitOps; {
		open = false // unless a line has an append that fits
		for _, l := range lines {
			l.credit += shareStep
			for len(l.ops) > 0 && taken+l.ops[0].size <= most && len(out) < commitOps {
				open = true
				if l.credit < l.ops[0].size {
					break
				}
				l.credit -= l.ops[0].size
				move(l)
			}
		}
	}
	return q.remove(out)
}

// remove takes ops out of the queue and returns them. Called with mu held.
func (q *appendQueue) remove(ops []*appendOp) []*appendOp {
	for _, op := range ops {
		op.taken = true
		q.bytes -= op.size
	}
	rest := q.ops[:0]
	for _, op := range q.ops {
		if !op.taken {
			rest = append(rest, op)
		}
	}
	clear(q.ops[len(rest):])
	q.ops = rest
	return ops
}

func (q *appendQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.look()
}

// drain fails the ops that wait in the queue.
func (q *appendQueue) drain(s *Store, err error) {
	q.mu.Lock()
	ops := q.ops
	q.ops, q.bytes = nil, 0
	q.mu.Unlock()
	for _, op := range ops {
		s.finish(op, store.Position{}, err)
	}
}
