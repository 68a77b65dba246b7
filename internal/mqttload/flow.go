package mqttload

import (
	"context"
	"fmt"
	"math"
	"time"
)

// playFlow makes publishers send to subscribers during the warm-up and the measured time, and then waits for messages in flight. If the
// plan has a number of messages, they send as many, and the measured time goes from the first PUBLISH to the last delivery.
func playFlow(r *run) error {
	subs, err := r.subscribers(false)
	if err != nil {
		return err
	}
	defer dropAll(subs)
	pubs, err := r.publishers()
	if err != nil {
		return err
	}
	defer dropAll(pubs)
	r.schedule()
	done := until(time.Duration(r.to.Load()))
	if r.p.Messages > 0 {
		r.from.Store(int64(r.since()))
		r.to.Store(math.MaxInt64)
		done = upTo(max(1, r.p.Messages/r.p.Publishers))
	}
	readers, ctx := newCrew(r.ctx)
	for i, c := range subs {
		readers.do(func() error { return r.receive(ctx, i, c) })
	}
	writers, writing := newCrew(ctx)
	for i, c := range pubs {
		writers.do(func() error { return r.publish(writing, i, c, done) })
	}
	err = writers.wait()
	if err == nil && ctx.Err() == nil {
		last := r.drain()
		if r.p.Messages > 0 {
			r.seconds = last.Sub(r.began).Seconds() - time.Duration(r.from.Load()).Seconds()
		}
	}
	readers.cancel()
	dropAll(subs)
	if failed := readers.wait(); err == nil {
		err = failed
	}
	if err == nil {
		err = r.ctx.Err()
	}
	return err
}

// drain waits until every copy of the acknowledged messages has arrived, or nothing has arrived for some seconds. At QoS 0 brokers may drop
// messages, so the wait is short. It returns when the last copy arrived, to some milliseconds.
func (r *run) drain() (last time.Time) {
	want := r.sent.Load() * int64(r.s.copies(&r.p))
	quiet := 10 * time.Second
	if r.p.QoS == 0 {
		quiet = 2 * time.Second
	}
	count, last := r.arrived.Load(), time.Now()
	for r.ctx.Err() == nil && r.arrived.Load() < want && time.Since(last) < quiet {
		time.Sleep(5 * time.Millisecond)
		if n := r.arrived.Load(); n != count {
			count, last = n, time.Now()
		}
	}
	return last
}

func (r *run) clientID(role string, i int) string {
	return fmt.Sprintf("bench-%08x-%s-%d", r.id, role, i)
}

// subscribers connects the subscribers, each with its filter.
func (r *run) subscribers(keep bool) ([]*client, error) {
	return r.connectAll(r.p.Subscribers, func(i int) (*client, error) {
		c, _, err := r.t.connect(r.ctx, login{id: r.clientID("sub", i), keep: keep})
		if err != nil {
			return nil, err
		}
		if err := c.subscribe(r.s.filter(&r.p, i), r.p.QoS); err != nil {
			c.drop()
			return nil, err
		}
		return c, nil
	})
}

func (r *run) publishers() ([]*client, error) {
	return r.connectAll(r.p.Publishers, func(i int) (*client, error) {
		c, _, err := r.t.connect(r.ctx, login{id: r.clientID("pub", i)})
		return c, err
	})
}

// goal says when a publisher is done.
type goal func(sent int, at time.Duration) bool

func until(end time.Duration) goal { return func(_ int, at time.Duration) bool { return at >= end } }
func upTo(n int) goal              { return func(sent int, _ time.Duration) bool { return sent >= n } }

// closeWith closes a client's connection when ctx ends, which ends its reads and writes.
func closeWith(ctx context.Context, c *client) (stop func() bool) {
	return context.AfterFunc(ctx, c.drop)
}
