package mqttload

import (
	"errors"
	"fmt"
)

// playCatchUp queues messages for a sleeping session and measures how fast its client receives them all.
func playCatchUp(r *run) error {
	if r.p.QoS == 0 {
		return errors.New("catchup wants QoS 1 or 2: brokers need not keep messages of QoS 0 for a session")
	}
	id := r.clientID("sub", 0)
	filter := r.s.filter(&r.p, 0)
	c, _, err := r.t.connect(r.ctx, login{id: id, keep: true})
	if err != nil {
		return err
	}
	defer func() { _ = r.endSessions([]string{id}) }() // best effort: the broker may be gone
	if err := c.subscribe(filter, r.p.QoS); err != nil {
		c.drop()
		return err
	}
	c.leave()
	if err := r.fillQueue(); err != nil {
		return err
	}
	began := r.since()
	r.from.Store(int64(began))
	r.to.Store(int64(began + longestLatency))
	c, session, err := r.t.connect(r.ctx, login{id: id, keep: true})
	if err != nil {
		return err
	}
	if !session {
		c.drop()
		return fmt.Errorf("the broker has forgotten the session of %q", id)
	}
	reader, ctx := newCrew(r.ctx)
	reader.do(func() error { return r.receive(ctx, 0, c) })
	r.drain()
	r.seconds = (r.since() - began).Seconds()
	reader.cancel()
	return reader.wait()
}

// fillQueue publishes the plan's messages, spread over the publishers.
func (r *run) fillQueue() error {
	pubs, err := r.publishers()
	if err != nil {
		return err
	}
	defer dropAll(pubs)
	r.from.Store(int64(longestLatency)) // nothing is measured
	r.to.Store(int64(longestLatency))
	writers, ctx := newCrew(r.ctx)
	for i, c := range pubs {
		n := r.p.Messages / len(pubs)
		if i < r.p.Messages%len(pubs) {
			n++
		}
		writers.do(func() error { return r.publish(ctx, i, c, upTo(n)) })
	}
	if err := writers.wait(); err != nil {
		return err
	}
	return r.ctx.Err()
}
