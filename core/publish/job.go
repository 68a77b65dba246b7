package publish

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// A turn of a lane takes several messages at the most together, of so many bytes of payload.
const (
	turnMessages = 512
	turnBytes    = 1 << 20
)

// job is one message on its way into the store.
type job struct {
	p      *Publisher
	from   *Lanes // the connection that it came by; nil: the gateway itself
	client string
	key    string // of its lane
	m      *store.Message
	done   func(error)
	ctx    context.Context //nolint:containedctx // of this message alone; nil until its turn comes, where the publisher's deadline counts
	tries  int
	next   *job   // behind it in the lane; guarded by the shard
	behind []*job // the rest of its turn, in order
	kept   *kept  // of a turn of retained messages, once some of them are stored
}

// kept is how far a turn of retained messages has come: n of them are stored, the last one at a position, the first ones at a time.
type kept struct {
	n     int
	last  store.Position
	began time.Time
}

// run begins to store the message, whose turn it is, together with what may go with it.
func (j *job) run() {
	if j.from != nil && j.from.broken.Load() {
		j.withhold()
		j.pass()
		return
	}
	if j.ctx == nil {
		j.ctx = j.p.deadline()
		j.behind = j.p.lanes.behind(j)
	}
	j.try()
}

// joins reports whether a message may be stored in the turn that first begins: they share connection and fate.
func (j *job) joins(first *job) bool {
	return j.from == first.from && j.m.Retain == first.m.Retain
}

// removes reports whether the message removes what is retained. It ends its turn: of a turn's retained messages only the last one is
// kept, and where that is a value which is refused, a removal before it would be lost.
func (j *job) removes() bool { return j.m.Retain && len(j.m.Payload) == 0 }

// at is a message of the turn that the job begins, by its place.
func (j *job) at(i int) *job {
	if i == 0 {
		return j
	}
	return j.behind[i-1]
}

// try stores the message. What fails because the store or its metadata cannot be reached is tried again until the time is over.
func (j *job) try() {
	head, rest := j, j.behind
	if j.kept != nil {
		head, rest = j.at(j.kept.n), rest[j.kept.n:]
	}
	if err := j.ctx.Err(); err != nil {
		j.failed(1+len(rest), err)
		return
	}
	if j.held() {
		j.hold(1 + len(rest))
		return
	}
	physical, queues, err := j.p.dispatch(j.ctx, j.client, head.m)
	if err != nil {
		j.failed(1+len(rest), err)
		return
	}
	if j.held() { // after a long stop, filters that are new are missing as well
		j.hold(1 + len(rest))
		return
	}
	if j.m.Retain && j.kept == nil && j.from != nil {
		// A client that has no room is told before its message is stored: one that cannot be told sends it again, and again.
		if err := j.p.o.Retainer.Room(head.m); err != nil {
			j.failed(1, err)
			return
		}
	}
	first := store.Append{Message: head.m, Topic: physical, Key: j.key, Queues: queues}
	if len(rest) == 0 {
		j.p.o.Store.Append(j.ctx, first, j.appended)
		return
	}
	batch := append(make([]store.Append, 0, 1+len(rest)), first)
	for _, k := range rest {
		a := first
		a.Message = k.m
		if (k.m.Exchange == "") != (head.m.Exchange == "") { // one of them has a queue more
			if _, a.Queues, err = j.p.dispatch(j.ctx, j.client, k.m); err != nil {
				break
			}
		}
		batch = append(batch, a)
	}
	j.p.o.Store.AppendBatch(j.ctx, batch, j.appendedAll)
}

// held reports whether the message may not be stored now: the node is fenced, or its connection's client is another node's.
func (j *job) held() bool {
	if j.from == nil || j.from.holder == nil {
		return j.p.o.Held != nil && j.p.o.Held()
	}
	return j.from.holder.Held()
}

// heldLook is how often it is looked whether a message is still held.
const heldLook = 50 * time.Millisecond

// hold tries the next n messages later, or withholds them where their lanes are broken.
func (j *job) hold(n int) {
	switch {
	case j.kept != nil:
		j.retain()
	case j.from != nil && j.from.broken.Load():
		j.finish(n, ErrEnded)
	default:
		time.AfterFunc(heldLook, j.try)
	}
}

// retryDelays are the pauses between tries; the last one repeats.
var retryDelays = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// failed tries again, or tells the fate of the next n messages.
func (j *job) failed(n int, err error) {
	switch {
	case j.kept != nil:
		// Those that are stored do not wait for what becomes of the others, which the next turn begins with.
		j.retain()
	case Refused(err):
		j.p.metrics.refused.Add(float64(n))
		j.finish(n, err)
	case errors.Is(err, store.ErrUnavailable) && j.ctx.Err() == nil:
		pause := retryDelays[min(j.tries, len(retryDelays)-1)]
		j.tries++
		time.AfterFunc(pause, j.try)
	default:
		j.p.metrics.failed.Add(float64(n))
		j.finish(n, err)
	}
}

func (j *job) appended(at store.Position, err error) { j.appendedAll(1, at, err) }

func (j *job) appendedAll(n int, last store.Position, err error) {
	if err != nil {
		j.failed(n, err)
		return
	}
	j.p.metrics.stored.Add(float64(n))
	if !j.m.Retain {
		j.finish(n, nil)
		return
	}
	if j.kept == nil {
		j.kept = &kept{began: time.Now()}
	}
	j.kept.n, j.kept.last = j.kept.n+n, last
	if j.kept.n <= len(j.behind) && time.Since(j.kept.began) < gatherFor {
		go j.try() // where the store keeps few together
		return
	}
	j.retain()
}

// gatherFor is how long a turn of retained messages goes on storing before what is stored so far is retained.
const gatherFor = 20 * time.Millisecond

// retain keeps the last one of the messages that are stored. The others were retained for no longer than until it was stored.
func (j *job) retain() {
	m := j.at(j.kept.n - 1).m
	ctx := j.ctx
	if ctx.Err() != nil { // the store took all the time for the rest of the turn
		ctx = j.p.deadline()
	}
	// It waits for metadata, which a callback of the store must not.
	go func() { j.finish(j.kept.n, j.p.o.Retainer.Retain(ctx, m, j.kept.last)) }()
}

// finish tells the fate of the first n messages, and then lets the next one of the lane go on. The first may break the lanes: then
// nobody asks what became of those behind it.
func (j *job) finish(n int, err error) {
	j.done(err)
	last := j
	for _, last = range j.behind[:n-1] {
		if err != nil && last.from.broken.Load() {
			last.withhold()
			continue
		}
		last.done(err)
	}
	last.pass()
}

// pass gives the turn to the next message of the lane that is not withheld.
func (j *job) pass() {
	for j = j.p.lanes.leave(j); j != nil; j = j.p.lanes.leave(j) {
		if j.from == nil || !j.from.broken.Load() {
			go j.run() // a store's callback must not block, and Append may
			return
		}
		j.withhold()
	}
}

func (j *job) withhold() {
	j.p.metrics.withheld.Inc()
	j.done(ErrEnded)
}
