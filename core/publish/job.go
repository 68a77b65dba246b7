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
	behind []*job // what goes to the store together with it, in order
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

// joins reports whether a message may go to the store together with the one whose turn it is: they share connection and fate. A
// retained message is followed by a write of its own, which must be through before the next one is stored.
func (j *job) joins(first *job) bool {
	return j.from == first.from && !j.m.Retain && !first.m.Retain
}

// try stores the message. What fails because the store or its metadata cannot be reached is tried again until the time is over.
func (j *job) try() {
	if err := j.ctx.Err(); err != nil {
		j.failed(1+len(j.behind), err)
		return
	}
	physical, queues, err := j.p.dispatch(j.ctx, j.client, j.m)
	if err != nil {
		j.failed(1+len(j.behind), err)
		return
	}
	first := store.Append{Message: j.m, Topic: physical, Key: j.key, Queues: queues}
	if len(j.behind) == 0 {
		j.p.o.Store.Append(j.ctx, first, j.appended)
		return
	}
	batch := append(make([]store.Append, 0, 1+len(j.behind)), first)
	for _, k := range j.behind {
		a := first
		a.Message = k.m
		if (k.m.Exchange == "") != (j.m.Exchange == "") { // one of them has a queue more
			if _, a.Queues, err = j.p.dispatch(j.ctx, j.client, k.m); err != nil {
				break
			}
		}
		batch = append(batch, a)
	}
	j.p.o.Store.AppendBatch(j.ctx, batch, j.appendedAll)
}

// retryDelays are the pauses between tries; the last one repeats.
var retryDelays = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// failed tries again, or tells the fate of the first n messages.
func (j *job) failed(n int, err error) {
	switch {
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

func (j *job) appended(at store.Position, err error) {
	switch {
	case err != nil:
		j.failed(1, err)
	case j.m.Retain:
		// Waits for metadata, which a callback of the store must not.
		go func() {
			err := j.p.o.Retainer.Retain(j.ctx, j.m, at)
			j.p.metrics.stored.Inc()
			j.finish(1, err)
		}()
	default:
		j.p.metrics.stored.Inc()
		j.finish(1, nil)
	}
}

func (j *job) appendedAll(n int, err error) {
	if err != nil {
		j.failed(n, err)
		return
	}
	j.p.metrics.stored.Add(float64(n))
	j.finish(n, nil)
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
