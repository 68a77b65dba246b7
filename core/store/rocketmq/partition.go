package rocketmq

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// partitionTail follows one partition of a tail. Its goroutine (run) takes own records from the relay and calls the tail's function. If the
// relay has none, it keeps one pull under way.
type partitionTail struct {
	*tail
	p     store.Partition
	relay *relay // nil for a light message queue

	offset int64 // of the next record
	cuts   int32 // after how many cuts of the broker's log the offset is valid
	seen   int64 // the newest store time, for finding the place after a reset
	fails  int
	last   time.Time // when a pull last brought records
	lags   time.Time // since when the broker's end has been before what is known to be stored

	pulling bool
	answers chan answer
}

type answer struct {
	pull pullAnswer
	err  error
}

func (t *partitionTail) run() {
	defer func() {
		if t.fails > 1 {
			t.s.breaks.end(t.p.Broker)
		}
		if t.relay != nil {
			t.relay.close()
		}
	}()
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	for t.ctx.Err() == nil {
		if t.offset == unknownOffset && !t.find() {
			continue
		}
		var wake chan struct{}
		var wait time.Duration
		if t.relay != nil {
			wake = t.relay.wake
			if wait = t.takeOwn(); wait < 0 {
				continue
			}
		}
		if !t.pulling && wait == 0 {
			t.pull()
		}
		var paused <-chan time.Time
		if !t.pulling {
			pause.Reset(wait)
			paused = pause.C
		}
		select {
		case <-wake:
		case <-paused:
		case a := <-t.answers:
			t.pulling = false
			t.answered(a)
		case <-t.ctx.Done():
		}
	}
}

// takeOwn hands out the next own records. It returns how long to wait for more before asking the broker, or a negative value if there were
// some.
func (t *partitionTail) takeOwn() time.Duration {
	records, wait := t.relay.take(t.offset)
	if len(records) == 0 {
		return wait
	}
	t.offset += int64(len(records))
	t.lags = time.Time{}
	t.s.metrics.read.WithLabelValues("own").Add(float64(len(records)))
	if t.ctx.Err() == nil {
		t.f(t.p, records)
	}
	return -1
}

// find determines the start of a partition whose offset is not known.
func (t *partitionTail) find() bool {
	from := t.began.Add(-clockSkew).UnixMilli()
	if t.seen > 0 {
		from = t.seen
	}
	start, err := t.lookup(t.p, from)
	if err != nil {
		t.failed(err)
		return false
	}
	t.offset = start
	t.begin(t.p, start)
	return true
}

// pull asks the broker for the next records. The answer arrives on answers.
func (t *partitionTail) pull() {
	t.pulling = true
	req := remoting.PullRequest{Group: pullGroup, Topic: t.topic, Queue: t.p.ID, Offset: t.offset, Max: maxPull, Suspend: tailSuspend}
	t.wg.Go(func() {
		pull, err := t.s.pull(t.ctx, t.p.Broker, req)
		t.answers <- answer{pull, err}
	})
}

// answered handles the answer to a pull. Own records may have advanced the offset since the pull started.
func (t *partitionTail) answered(a answer) {
	if a.err != nil {
		t.failed(a.err)
		return
	}
	if t.fails > 1 {
		t.s.breaks.end(t.p.Broker)
	}
	t.fails = 0
	pull := a.pull
	if pull.cuts != t.cuts {
		t.goBack()
		return
	}
	if pull.Code == remoting.PullOffsetMoved && t.offset > pull.Max {
		if !t.lagging() {
			t.reset(pull)
		}
		return
	}
	t.lags = time.Time{}
	if pull.Code == remoting.PullOffsetMoved && pull.Next > t.offset {
		t.s.metrics.lost.Add(float64(pull.Next - t.offset))
		t.s.log.Error("records were removed before they were read from the tail", "topic", t.topic, "broker", t.p.Broker,
			"queue", t.p.ID, "from", t.offset, "to", pull.Next)
	}
	n := t.deliver(pull)
	if n == 0 {
		if pull.Code == remoting.PullOffsetMoved || pull.Code == remoting.PullRetry {
			t.wait(firstBackoff)
		}
		return
	}
	// A busy queue answers each pull with the few records of the last moment, and the pulls then cost the broker more than the records. A
	// short pause lets more records accumulate.
	now := time.Now()
	if n < burstSize/2 && now.Sub(t.last) < busyGap {
		t.wait(busyPause)
	}
	t.last = now
	for full := len(pull.Messages) >= burstSize; full && t.ctx.Err() == nil; {
		full = t.burst()
	}
}

// deliver hands out the records of a pull that were not handed out yet, and returns their number.
func (t *partitionTail) deliver(pull pullAnswer) int {
	for i := range pull.Messages {
		t.seen = max(t.seen, pull.Messages[i].StoreTime)
	}
	for t.queue == "" && len(pull.Messages) > 0 && pull.Messages[0].QueueOffset < t.offset {
		pull.Messages = pull.Messages[1:]
	}
	records, _, next := t.s.records(t.p.Broker, t.queue, t.offset, pull, t.queue != "")
	t.offset = max(next, t.offset)
	if len(records) == 0 {
		return 0
	}
	t.s.metrics.read.WithLabelValues("tail").Add(float64(len(records)))
	if t.ctx.Err() == nil {
		t.f(t.p, records)
	}
	return len(records)
}

// lagging reports whether a queue that ends before the offset may be one whose index lags behind its log. If so, it waits a moment.
func (t *partitionTail) lagging() bool {
	if t.relay == nil || t.offset > t.relay.known() {
		return false
	}
	now := time.Now()
	if t.lags.IsZero() {
		t.lags = now
	}
	if now.Sub(t.lags) > lagFor {
		t.lags = time.Time{}
		return false
	}
	t.wait(gapFor)
	return true
}

// goBack continues after the broker's log was cut: records that others have taken the place of do not count as read.
func (t *partitionTail) goBack() {
	at, cuts, err := t.s.resume(t.ctx, t.p.Broker, t.topic, t.p.ID, t.offset, t.s.Mark(t.p.Broker, t.cuts))
	if err != nil {
		t.failed(err)
		return
	}
	t.cuts = cuts
	if at < t.offset {
		if t.relay != nil {
			t.relay.end.distrust()
		}
		t.offset = at
		t.begin(t.p, at)
	}
}

// reset continues in a queue that has begun again.
func (t *partitionTail) reset(pull pullAnswer) {
	t.s.metrics.resets.Inc()
	t.s.log.Warn("a queue has begun anew, going on with its new records", "topic", t.topic, "broker", t.p.Broker,
		"queue", t.p.ID, "offset", t.offset, "end", pull.Max)
	if t.relay != nil {
		t.relay.end.distrust()
	}
	t.offset = pull.Min
	if t.seen > 0 {
		t.offset = unknownOffset
	}
	if pull.Max == 0 {
		t.offset = 0
	}
	if t.offset != unknownOffset {
		t.begin(t.p, t.offset)
	}
}

const (
	// burstPulls is how many pulls of one partition run concurrently when it is behind.
	burstPulls = 4
	// burstSize is how many records each pull asks for: the most that brokers return unless configured otherwise.
	burstSize = 32
)

// burst runs several concurrent pulls of a partition that is behind, because the offsets of the next records are known. It reports whether
// more records are available at once. Anything unusual is left to run, which meets it again.
func (t *partitionTail) burst() (more bool) {
	var answers [burstPulls]chan answer
	first := t.offset
	for i := range answers {
		answers[i] = make(chan answer, 1)
		t.wg.Go(func() {
			pull, err := t.s.pull(t.ctx, t.p.Broker, remoting.PullRequest{
				Group: pullGroup, Topic: t.topic, Queue: t.p.ID, Offset: first + int64(i*burstSize), Max: burstSize,
			})
			answers[i] <- answer{pull, err}
		})
	}
	more = true
	for i := range answers {
		a := <-answers[i]
		if !more || a.err != nil || a.pull.cuts != t.cuts || a.pull.Code != remoting.Success || t.offset != first+int64(i*burstSize) ||
			t.ctx.Err() != nil {
			more = false
			continue
		}
		more = len(a.pull.Messages) >= burstSize
		t.deliver(a.pull)
	}
	return more
}

// lookup finds the offset at which to continue a partition without a known offset.
func (t *tail) lookup(p store.Partition, millis int64) (int64, error) {
	var offset int64
	err := t.s.asks(t.topic)(t.ctx, p.Broker, func(addr string) (err error) {
		offset, err = t.s.client.SearchOffset(t.ctx, addr, t.topic, p.ID, millis)
		return err
	})
	return max(offset, 0), err
}

// failed backs off after a failed pull and triggers a look at the routes.
func (t *partitionTail) failed(err error) {
	if t.ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, context.Canceled) {
		return
	}
	if t.fails++; t.fails == 2 {
		t.s.breaks.begin(t.p.Broker, err)
	}
	select {
	case t.look <- struct{}{}:
	default:
	}
	// When any pull or append hears from the broker again, it wakes the others. They still wait at least the shortest pause, because the
	// broker may answer some requests and not others.
	t.wait(firstBackoff)
	rest := min(firstBackoff<<min(t.fails, 10), lastBackoff) - firstBackoff
	select {
	case <-t.ctx.Done():
	case <-t.s.breaks.waiter(t.p.Broker):
	case <-time.After(rest):
	}
}
