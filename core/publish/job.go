package publish

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
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
	next   *job // behind it in the lane; guarded by the shard
}

// run begins to store the message, whose turn it is.
func (j *job) run() {
	if j.from != nil && j.from.broken.Load() {
		j.withhold()
		j.pass()
		return
	}
	if j.ctx == nil {
		j.ctx = j.p.deadline()
	}
	j.try()
}

// try stores the message. What fails because the store or its metadata cannot be reached is tried again until the time is over.
func (j *job) try() {
	if err := j.ctx.Err(); err != nil {
		j.failed(err)
		return
	}
	physical, queues, err := j.p.dispatch(j.ctx, j.client, j.m)
	if err != nil {
		j.failed(err)
		return
	}
	j.p.o.Store.Append(j.ctx, store.Append{Message: j.m, Topic: physical, Key: j.key, Queues: queues}, j.appended)
}

// retryDelays are the pauses between tries; the last one repeats.
var retryDelays = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

func (j *job) failed(err error) {
	switch {
	case Refused(err):
		j.p.metrics.refused.Inc()
		j.finish(err)
	case errors.Is(err, store.ErrUnavailable) && j.ctx.Err() == nil:
		pause := retryDelays[min(j.tries, len(retryDelays)-1)]
		j.tries++
		time.AfterFunc(pause, j.try)
	default:
		j.p.metrics.failed.Inc()
		j.finish(err)
	}
}

func (j *job) appended(at store.Position, err error) {
	switch {
	case err != nil:
		j.failed(err)
	case j.m.Retain:
		// Waits for metadata, which a callback of the store must not.
		go func() {
			err := j.p.o.Retainer.Retain(j.ctx, j.m, at)
			j.p.metrics.stored.Inc()
			j.finish(err)
		}()
	default:
		j.p.metrics.stored.Inc()
		j.finish(nil)
	}
}

// finish tells the message's fate, and then lets the next one of the lane go on. In between, done may break the lanes.
func (j *job) finish(err error) {
	j.done(err)
	j.pass()
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
