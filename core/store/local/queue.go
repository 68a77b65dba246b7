package local

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// appendQueue holds the appends that wait for the committer. The store's budget bounds its length.
//
// While few appends wait, they leave in order of arrival. Once more wait than one group commit takes, the identities have equal shares of
// the commit's bytes, and so have the publishers of each. So a client that floods the store delays itself and hardly anybody else. The
// appends of one publisher always keep their order.
//
// While some send little and others much, what is much leaves in small groups, one after another, and the disk rests between them. While
// the disk is too slow for what comes, it does not leave at all. The rest waits for the disk here, and not in pebble, where everybody would
// wait with it. If nobody sends little, nobody gains from that, and all leave as ever.
type appendQueue struct {
	mu     sync.Mutex
	ops    []*appendOp // the latest, in order of arrival; the first may be a barrier
	sorted backlog     // those before ops
	bytes  int         // of ops and sorted
	closed bool
	wake   chan struct{} // one token: there are new ops, or it is time to look again
	held   bool          // the committer waits although there are ops

	// lightAt is when a publisher last sent little while others sent much; heavyAt is since when the rest waits, zero if nothing does.
	lightAt, heavyAt time.Time
	// away is when the heavy group left that is not stored yet, zero if there is none; rest is until when no other one leaves.
	away, rest time.Time
	passed     bool // light ones have left since the last heavy group
	// came is what came into the backlog since cameAt.
	came   sums
	cameAt time.Time
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
		if q.bytes > 0 || len(q.ops) > 0 {
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
	// shareStep is how many bytes a publisher may take in its turn. It sends little if no more of it waits, and if no more than heavySender
	// came from it since cameAt.
	shareStep = 16 << 10
	// A publisher sends much if more than heavySender waits of it, and an identity if more than heavyIdentity waits of its publishers.
	heavySender   = 64 << 10
	heavyIdentity = 1 << 20
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
	if q.sorted.empty() && (q.bytes <= heavySender || q.bytes <= heavyBytes && !slow) {
		q.heavyAt = time.Time{}
		ops, q.ops, q.bytes = q.ops, out, 0
		return ops, false
	}
	if q.sort(); q.sorted.empty() {
		out, q.ops = append(out, q.ops[0]), drop(q.ops) // a barrier
		return out, false
	}
	before := len(out)
	switch mixed := q.sorted.heavy() && time.Since(q.lightAt) < heldMost; {
	case !mixed:
		q.heavyAt = time.Time{}
		out = q.sorted.takeShares(out, commitBytes)
	case q.patience(slow) > 0 || q.sorted.lightLines > 0 && !q.passed:
		q.passed = true
		if out = q.sorted.takeLight(out); q.heavyAt.IsZero() {
			q.heavyAt = time.Now()
		}
	default:
		q.heavyAt, q.away, q.passed, heavy = time.Time{}, time.Now(), false, true
		out = q.sorted.takeShares(q.sorted.takeLight(out), heavyBytes)
	}
	for _, op := range out[before:] {
		q.bytes -= op.size
	}
	return out, heavy
}

// sort moves what has come up to a barrier into the backlog, and notes whether somebody sends little. Called with mu held.
func (q *appendQueue) sort() {
	now := time.Now()
	if now.Sub(q.cameAt) >= heldMost {
		q.cameAt, q.came = now, sums{make(map[string]int), make(map[string]int)}
	}
	n := 0
	for ; n < len(q.ops) && q.ops[n].topic != nil; n++ {
		op := q.ops[n]
		q.sorted.add(op)
		q.came.publishers[op.msg.Publisher] += op.size
		q.came.identities[op.from] += op.size
	}
	if q.sorted.heavy() && slices.ContainsFunc(q.ops[:n], q.isLittle) {
		q.lightAt = now
	}
	rest := copy(q.ops, q.ops[n:])
	clear(q.ops[rest:])
	q.ops = q.ops[:rest]
}

// isLittle reports whether the publisher of an append in the backlog sends little beside one that sends much, or its identity does beside
// one whose publishers send much together. Called with mu held.
func (q *appendQueue) isLittle(op *appendOp) bool {
	l := q.sorted.lines[op.msg.Publisher]
	if l.isHeavy || q.came.publishers[l.publisher] > heavySender {
		return false
	}
	return q.sorted.heavyLines > 0 || l.of.bytes <= shareStep && q.came.identities[op.from] <= heavySender
}

// sums are bytes of appends, by publisher and by identity.
type sums struct{ publishers, identities map[string]int }

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

func (q *appendQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.look()
}

// drain fails the ops that wait in the queue.
func (q *appendQueue) drain(s *Store, err error) {
	q.mu.Lock()
	var ops []*appendOp
	for !q.sorted.empty() {
		ops = append(ops, q.sorted.takeShares(nil, math.MaxInt)...)
	}
	ops = append(ops, q.ops...)
	q.ops, q.bytes = nil, 0
	q.mu.Unlock()
	for _, op := range ops {
		s.finish(op, store.Position{}, err)
	}
}
