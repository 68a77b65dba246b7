package publish

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Lanes publish for one client, in order for each topic.
type Lanes struct {
	p      *Publisher
	client string

	mu    sync.Mutex
	lanes map[string]*lane // by topic; only those with work
}

// lane holds the messages to one topic that wait for the one in flight.
type lane struct{ waiting []job }

type job struct {
	m    *store.Message
	done func(error)
}

// Lanes makes the lanes of a client.
func (p *Publisher) Lanes(client string) *Lanes {
	return &Lanes{p: p, client: client}
}

// Publish stores a message and then calls done exactly once, from any goroutine. done must not block. Publish itself may block
// while the store takes no more (back-pressure). An error that Refused reports can never be mended; any other one means that
// the store did not answer in time, and that the message may or may not be stored.
func (l *Lanes) Publish(m *store.Message, done func(error)) {
	l.mu.Lock()
	if ln := l.lanes[m.Topic]; ln != nil {
		ln.waiting = append(ln.waiting, job{m, done})
		l.mu.Unlock()
		return
	}
	if l.lanes == nil {
		l.lanes = make(map[string]*lane)
	}
	l.lanes[m.Topic] = &lane{}
	l.mu.Unlock()
	l.run(job{m, done})
}

// run publishes one job, and then the next one of its lane.
func (l *Lanes) run(j job) {
	ctx := l.p.deadline()
	l.p.publish(ctx, l.client, j.m, func(err error) {
		j.done(err)
		l.mu.Lock()
		ln := l.lanes[j.m.Topic]
		if len(ln.waiting) == 0 {
			delete(l.lanes, j.m.Topic)
			l.mu.Unlock()
			return
		}
		next := ln.waiting[0]
		ln.waiting[0] = job{}
		ln.waiting = ln.waiting[1:]
		l.mu.Unlock()
		go l.run(next) // a store's callback must not block, and Append may
	})
}

// publish stores one message. What fails because the store or its metadata cannot be reached is tried again until ctx ends.
func (p *Publisher) publish(ctx context.Context, client string, m *store.Message, done func(error)) {
	p.try(ctx, client, m, 0, done)
}

func (p *Publisher) try(ctx context.Context, client string, m *store.Message, tries int, done func(error)) {
	failed := func(err error) {
		switch {
		case Refused(err):
			p.metrics.refused.Inc()
			done(err)
		case errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil:
			time.AfterFunc(retryDelays[min(tries, len(retryDelays)-1)], func() { p.try(ctx, client, m, tries+1, done) })
		default:
			p.metrics.failed.Inc()
			done(err)
		}
	}
	physical, queues, err := p.dispatch(ctx, client, m)
	if err != nil {
		failed(err)
		return
	}
	a := store.Append{Message: m, Topic: physical, Key: client + "\x00" + m.Topic, Queues: queues}
	p.o.Store.Append(ctx, a, func(at store.Position, err error) {
		switch {
		case err != nil:
			failed(err)
		case m.Retain:
			// Waits for metadata, which a callback of the store must not.
			go func() {
				err := p.o.Retainer.Retain(ctx, m, at)
				p.metrics.stored.Inc()
				done(err)
			}()
		default:
			p.metrics.stored.Inc()
			done(nil)
		}
	})
}

// retryDelays are the pauses between tries; the last one repeats.
var retryDelays = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// One publishes a message for the gateway itself (a will, for instance) and waits until it is stored.
func (p *Publisher) One(ctx context.Context, client string, m *store.Message) error {
	result := make(chan error, 1)
	p.publish(ctx, client, m, func(err error) { result <- err })
	return <-result
}

// SaveSession stores what a durable session must know after a crash, and waits until it is stored. The newest record of
// topic.SessionQueue counts.
func (p *Publisher) SaveSession(client string, state []byte) error {
	ctx := p.deadline()
	if err := p.o.Catalog.EnsureOwn(ctx, SessionTopic, sessionTopicQueues); err != nil {
		return err
	}
	m := &store.Message{Topic: SessionTopic, Payload: state, Publisher: client, Created: time.Now()}
	a := store.Append{Message: m, Topic: SessionTopic, Key: client, Queues: []string{topic.SessionQueue(client)}}
	result := make(chan error, 1)
	p.o.Store.Append(ctx, a, func(_ store.Position, err error) { result <- err })
	return <-result
}
