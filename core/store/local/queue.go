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
// While the disk is too slow for what comes, only the first few bytes of each publisher leave. The rest waits for the disk here, and not in
// pebble, where everybody would wait with it. If nobody sends little, nobody gains from that, and all leave as ever.
type appendQueue struct {
	mu     sync.Mutex
	ops    []*appendOp
	bytes  int // of ops
	closed bool
	wake   chan struct{} // one token: there are new ops, or it is time to look again
	held   bool          // the committer waits although there are ops

	// lightAt is when a publisher last sent little while the disk was slow; heavyAt is since when the rest waits, zero if nothing does.
	lightAt, heavyAt time.Time
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

// take returns the appends to commit next. spare must be empty; take returns it filled, or keeps it in place of the returned slice. It
// blocks until there are appends, and returns false once the queue is closed. pressed reports whether only light appends may leave now;
// when its answer changes, look must be called.
func (q *appendQueue) take(spare []*appendOp, pressed func() bool) ([]*appendOp, bool) {
	for {
		var over <-chan time.Time // nil unless something is held back
		light := pressed()
		q.mu.Lock()
		q.held = false
		if q.closed {
			q.mu.Unlock()
			return spare, false
		}
		if len(q.ops) > 0 {
			if ops := q.choose(spare, light); len(ops) > 0 {
				q.mu.Unlock()
				return ops, true
			}
			q.held = true
			over = time.After(heldMost - time.Since(q.heavyAt))
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-over:
		}
	}
}

// choose moves to out what leaves next, or returns all of it and keeps out instead. It returns nothing if all is held back. Called with mu
// held.
func (q *appendQueue) choose(out []*appendOp, light bool) []*appendOp {
	if light {
		if ops, ok := q.takeLight(out); ok {
			return ops
		}
	}
	q.heavyAt = time.Time{}
	if q.bytes > commitBytes {
		return q.takeShares(out)
	}
	ops := q.ops
	q.ops, q.bytes = out, 0
	return ops
}

const (
	// shareStep is how many bytes a publisher may take in one round of takeShares, and while only light appends leave.
	shareStep = 16 << 10
	// heldMost is how long the queue holds heavy appends back. Then a group commit takes some of them, whatever the disk does.
	heldMost = time.Second
)

// takeLight moves to out what each publisher sent first, up to shareStep bytes of it. It returns false, and moves nothing, if the rest has
// waited for heldMost, or if no publisher sent less than that in the last heldMost. Called with mu held.
func (q *appendQueue) takeLight(out []*appendOp) ([]*appendOp, bool) {
	if q.bytes <= shareStep || !q.heavyAt.IsZero() && time.Since(q.heavyAt) >= heldMost {
		return nil, false
	}
	if q.ops[0].topic == nil {
		return q.remove(append(out, q.ops[0])), true
	}
	sent := make(map[string]int) // bytes, by publisher
	for _, op := range q.ops {
		if op.topic == nil || len(out) == commitOps {
			break
		}
		sent[op.msg.Publisher] += op.size
		if sent[op.msg.Publisher] <= shareStep {
			out = append(out, op)
		}
	}
	for _, bytes := range sent {
		if bytes <= shareStep {
			q.lightAt = time.Now()
			break
		}
	}
	if time.Since(q.lightAt) >= heldMost {
		clear(out)
		return nil, false
	}
	out = q.remove(out)
	if q.heavyAt.IsZero() && len(q.ops) > 0 {
		q.heavyAt = time.Now()
	}
	return out, true
}

// takeShares moves one group commit's worth of appends to out. The oldest append is always among them, so none waits for ever. The others
// are taken from the publishers in turn. Called with mu held.
func (q *appendQueue) takeShares(out []*appendOp) []*appendOp {
	// Appends behind a barrier stay behind it.
	upTo, before := 0, 0
	for upTo < len(q.ops) && q.ops[upTo].topic != nil {
		before += q.ops[upTo].size
		upTo++
	}
	if before <= commitBytes {
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
			for len(l.ops) > 0 && taken+l.ops[0].size <= commitBytes && len(out) < commitOps {
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
