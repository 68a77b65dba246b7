package publish

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Bounds of the messages that a lane stores together in one turn: their number, and the bytes of their payloads.
const (
	turnMessages = 512
	turnBytes    = 1 << 20
)

// UnretainedError says that a message with the retain flag is stored, but its retained message could not be recorded.
type UnretainedError struct {
	// At is where the message is stored.
	At  store.Position
	Err error
}

// Error implements error.
func (e *UnretainedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UnretainedError) Unwrap() error { return e.Err }

// ErrNoRoom says that a message was not stored, because there is no room to retain it.
var ErrNoRoom = errors.New("no room to retain the message")

// job is one message on its way into the store.
type job struct {
	p      *Publisher
	from   *Lanes // the connection that it came from; nil: the gateway itself
	client string
	key    string // identifies its lane
	m      *store.Message
	done   func(error)
	ctx    context.Context //nolint:containedctx // nil until its turn, if the publisher's deadline applies
	tries  int
	next   *job      // the next job of the lane; guarded by the shard
	behind []*job    // the rest of its turn, in order
	kept   *kept     // for a turn of retained messages, once some are stored
	asked  time.Time // when the store was asked; only if messages are traced
}

// kept is the progress of a turn of retained messages: how many are stored, the position of the last one, and when the first was stored.
type kept struct {
	n     int
	last  store.Position
	began time.Time
}

// run stores the message, whose turn it is, together with the messages that may share its turn.
func (j *job) run() {
	if j.broken() {
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

// joins reports whether the message may share the turn of first: both come from the same connection, and both or neither are retained.
func (j *job) joins(first *job) bool {
	return j.from == first.from && j.m.Retain == first.m.Retain
}

// removes reports whether the message removes a retained value. Such a message ends its turn: only the last value of a turn is retained,
// and if that value is refused, a removal before it would be lost.
func (j *job) removes() bool { return j.m.Retain && len(j.m.Payload) == 0 }

// at returns message number i of the turn that the job begins.
func (j *job) at(i int) *job {
	if i == 0 {
		return j
	}
	return j.behind[i-1]
}

// try stores the messages of the turn. While the store or the metadata cannot be reached, it retries until the deadline.
func (j *job) try() {
	head, rest := j, j.behind
	if j.kept != nil {
		head, rest = j.at(j.kept.n), rest[j.kept.n:]
	}
	if err := j.ctx.Err(); err != nil {
		j.failed(1+len(rest), err)
		return
	}
	if j.Held() {
		j.hold(1 + len(rest))
		return
	}
	if err := j.p.open(head.m.Topic); err != nil { // all messages of a lane have one topic
		j.failed(1+len(rest), err)
		return
	}
	if j.kept == nil && j.from != nil {
		// Check the room before storing the message: a client that cannot be told of the refusal would send the message again and again.
		// And before dispatch, which may create the first-level topic: a refused message leaves nothing behind.
		if err := j.p.Room(head.m); err != nil {
			j.failed(1, err)
			return
		}
	}
	physical, queues, err := j.p.dispatch(j.ctx, j.maker(), head.m)
	if err != nil {
		j.failed(1+len(rest), err)
		return
	}
	if j.Held() { // after a long stop, dispatch may have missed new filters
		j.hold(1 + len(rest))
		return
	}
	if j.p.o.Spans.On() {
		j.asked = time.Now()
	}
	first := store.Append{Message: head.m, Topic: physical, Key: j.key, Queues: queues, Identity: j.from.mark(""), Holder: j}
	if len(rest) == 0 {
		j.p.o.Store.Append(j.ctx, first, j.appended)
		return
	}
	batch := append(make([]store.Append, 0, 1+len(rest)), first)
	for _, k := range rest {
		a := first
		a.Message = k.m
		if (k.m.Exchange == "") != (head.m.Exchange == "") { // only one of them needs the exchange queue
			if _, a.Queues, err = j.p.dispatch(j.ctx, j.maker(), k.m); err != nil {
				break
			}
		}
		batch = append(batch, a)
	}
	j.p.o.Store.AppendBatch(j.ctx, batch, j.appendedAll)
}

// maker returns on whose behalf the message's first-level topic is created.
func (j *job) maker() topic.Maker {
	return topic.Maker{Client: j.client, Identity: j.from.mark(j.m.Identity), Operator: j.client == ""}
}

// Held reports whether the message may not be stored now, because the node is fenced, another node has the client, or the lanes are broken.
func (j *job) Held() bool {
	if j.broken() {
		return true
	}
	if j.from == nil || j.from.holder == nil {
		return j.p.o.Held != nil && j.p.o.Held()
	}
	return j.from.holder.Held()
}

// heldLook is the interval between two looks whether a message is still held.
const heldLook = 50 * time.Millisecond

// hold tries the next n messages later, or withholds them if their lanes are broken, or if their connection is over and has lost the
// client: messages of newer connections wait behind them.
func (j *job) hold(n int) {
	if j.from.forsaken() {
		j.from.Break()
	}
	switch {
	case j.kept != nil:
		j.retain()
	case j.broken():
		j.finish(n, ErrEnded)
	default:
		time.AfterFunc(heldLook, j.try)
	}
}

// retryDelays are the pauses between attempts; the last one repeats.
var retryDelays = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// failed retries, or reports the failure of the next n messages.
func (j *job) failed(n int, err error) {
	switch {
	case j.kept != nil:
		// The stored messages do not wait for the others, with which the next turn begins.
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
	if j.p.o.Spans.On() {
		j.trace(n, last, err)
	}
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
		go j.try() // the store has taken only a part of the batch
		return
	}
	j.retain()
}

// gatherFor is how long a turn of retained messages continues to store before the stored ones are retained.
const gatherFor = 20 * time.Millisecond

// retain retains the last stored message of the turn. The values before it have been superseded by it.
func (j *job) retain() {
	m := j.at(j.kept.n - 1).m
	ctx := j.ctx
	if ctx.Err() != nil { // storing has used up the time; retaining gets a deadline of its own
		ctx = j.p.deadline()
	}
	// In a goroutine: Retain waits for metadata, which a callback of the store must not do.
	go func() {
		err := j.p.o.Retainer.Retain(ctx, m, j.kept.last)
		if err != nil && j.kept.n == 1 { // of several, only the position of the last is known
			err = &UnretainedError{At: j.kept.last, Err: err}
		}
		j.finish(j.kept.n, err)
	}()
}

// RetainAgain records the retained message of a message that is stored already. done is called from another goroutine.
func (p *Publisher) RetainAgain(m *store.Message, at store.Position, done func(error)) {
	ctx := p.deadline()
	go func() { done(p.o.Retainer.Retain(ctx, m, at)) }()
}

// finish reports the outcome of the first n messages, and then passes the turn on. The first callback may break the lanes; then the
// messages behind it are withheld.
func (j *job) finish(n int, err error) {
	j.report(n, err).pass()
}

// report tells the outcome of the first n messages, and returns the last of them.
func (j *job) report(n int, err error) (last *job) {
	if n > 1 && j.from != nil && j.from.corker != nil {
		j.from.corker.Cork()
		defer j.from.corker.Uncork()
	}
	if j.from != nil {
		defer j.from.over(n)
	}
	j.done(err)
	last = j
	for _, last = range j.behind[:n-1] {
		if err != nil && last.from.broken.Load() {
			last.refuse()
			continue
		}
		last.done(err)
	}
	return last
}

// pass gives the turn to the next message of the lane that is not withheld.
func (j *job) pass() {
	for j = j.p.lanes.leave(j); j != nil; j = j.p.lanes.leave(j) {
		if !j.broken() {
			go j.run() // a store's callback must not block, but Append may
			return
		}
		j.withhold()
	}
}

// broken reports whether the lanes of the message's connection are broken.
func (j *job) broken() bool { return j.from != nil && j.from.broken.Load() }

// withhold ends the message without storing it.
func (j *job) withhold() {
	j.refuse()
	j.from.over(1)
}

func (j *job) refuse() {
	j.p.metrics.withheld.Inc()
	j.done(ErrEnded)
}
