package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

const (
	// firstBackoff and lastBackoff bound the back-off before an append is retried.
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second
	// unknownAfter is how long an append is retried if its topic has never had a route here: a topic that was just created has none for a
	// moment.
	unknownAfter = 3 * time.Second
	// suspectFor is how long a failed broker gets no appends if there are others. It doubles with each failure, up to suspectMost.
	suspectFor  = 3 * time.Second
	suspectMost = 30 * time.Second
)

// operation is one append, until its done is called. One goroutine at a time works on it.
type operation struct {
	s      *Store
	ctx    context.Context
	id     string
	append store.Append
	// records are sent from last to first: the main record only after all follow-ups are stored.
	records []record
	left    int
	tries   int
	began   time.Time
	to      target // where the current record is sent
	done    func(store.Position, error)
	batch   *batch // nil for a single message
}

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	if err := s.begin(); err != nil {
		done(store.Position{}, err)
		return
	}
	id := s.ids.next()
	records, err := encode(id, &a)
	if err == nil {
		err = s.slot(ctx)
	}
	if err != nil {
		s.end()
		done(store.Position{}, fmt.Errorf("append to %q: %w", clip(a.Topic), err))
		return
	}
	s.metrics.inFlight.Inc()
	op := &operation{
		s: s, ctx: ctx, id: id, append: a, records: records, left: len(records), began: time.Now(), done: done,
	}
	op.attempt()
}

// slot takes a slot for an append in flight. It waits until one is free.
func (s *Store) slot(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.base.Done():
		return store.ErrClosed
	}
}

// release gives slots back.
func (s *Store) release(n int) {
	s.metrics.inFlight.Sub(float64(n))
	for range n {
		<-s.slots
	}
}

// ended returns why the append may not continue, or nil.
func (op *operation) ended() error {
	if err := op.ctx.Err(); err != nil {
		return err
	}
	if op.s.base.Err() != nil {
		return store.ErrClosed
	}
	return nil
}

// attempt sends the next record. It does not block.
func (op *operation) attempt() {
	if err := op.ended(); err != nil {
		op.finish(store.Position{}, err)
		return
	}
	if op.s.routes.known(op.append.Topic) == nil {
		go op.route() // the topic's first append here waits for the name servers; its caller must not
		return
	}
	op.route()
}

// route sends the next record to a queue of the topic.
func (op *operation) route() {
	rt, err := op.s.routes.topic(op.ctx, op.append.Topic)
	if err != nil {
		go op.retry(err, "")
		return
	}
	t, ok := op.s.choose(rt, op.append.Topic, op.append.Key)
	if !ok {
		go op.retry(fmt.Errorf("%w: topic %q has no writable queue", store.ErrUnavailable, op.append.Topic), "")
		return
	}
	op.to = t
	if i := op.left - 1; i > 0 {
		go op.followUp(i, t)
		return
	}
	if op.batch != nil {
		op.batch.send(op, t)
		return
	}
	op.s.sender.send(op.ctx, t, op.records[0], op.sent)
}

// sent is called when the broker has answered the main record. It does not block.
func (op *operation) sent(res sent, err error) {
	if err != nil {
		go op.retry(err, op.to.Broker)
		return
	}
	op.s.suspect.clear(op.to.Broker)
	op.s.breaks.back(op.to.Broker)
	if res.unsynced {
		op.s.metrics.unsynced.Inc()
	}
	first := res.position(op.to.Broker, 0)
	switch last := res.position(op.to.Broker, op.messages()-1); {
	case op.messages() > 1 && op.batch.appends[op.messages()-1].Message.Retain:
		op.s.own.stored(op.id, &op.append, first)
		go func() { op.finish(op.batch.retained(op, last), nil) }()
	case op.messages() > 1:
		op.s.own.stored(op.id, &op.append, first)
		op.finish(last, nil)
	case op.append.Message.Retain && res.log >= 0:
		go func() { op.stored(op.timed(first)) }()
	default:
		op.stored(first)
	}
}

// stored ends a successful append of one message.
func (op *operation) stored(p store.Position) {
	op.s.own.stored(op.id, &op.append, p)
	op.finish(p, nil)
}

// timed sets the time at which the broker stored the record. A broker does not report that time with its answer, so it takes another
// request. Only retained values are worth that: all nodes order them by this time.
func (op *operation) timed(p store.Position) store.Position {
	m, err := op.s.client.ViewMessage(op.ctx, op.to.addr, op.to.topic, p.Log)
	if err != nil {
		op.s.log.Warn("the time of a retained message is this node's, the broker did not tell its own",
			"topic", op.append.Topic, "broker", p.Broker, "error", err)
		return p
	}
	p.Time = m.StoreTime
	return p
}

// followUp sends a follow-up record to the broker to which the main record will go: readers look for a queue only on the brokers of the
// first-level topic.
func (op *operation) followUp(i int, t target) {
	t, err := op.s.followUpTarget(op.ctx, t, op.append.Key)
	if err != nil {
		op.retry(err, "")
		return
	}
	op.s.sender.send(op.ctx, t, op.records[i], func(_ sent, err error) {
		if err != nil {
			go op.retry(err, t.Broker)
			return
		}
		op.s.metrics.followUps.Inc()
		op.left, op.tries = i, 0
		op.attempt()
	})
}

// followUpTarget returns where on t's broker a follow-up goes. It creates the topic for follow-ups there if it is missing.
func (s *Store) followUpTarget(ctx context.Context, t target, key string) (target, error) {
	st, err := s.routes.current(ctx, 3*routeAge)
	if err != nil {
		return t, err
	}
	if st.singleFeeder(t.Broker) {
		return t, nil // only t may feed the queues of the dispatch set
	}
	find := func(rt *topicRoute) (target, bool) {
		var on []store.Partition
		for _, p := range rt.writable {
			if p.Broker == t.Broker {
				on = append(on, p)
			}
		}
		if len(on) == 0 {
			return target{}, false
		}
		return target{topic: followUpTopic, Partition: on[hash(key)%uint32(len(on))], addr: rt.addrs[t.Broker]}, true
	}
	if rt, err := s.routes.topic(ctx, followUpTopic); err == nil {
		if f, ok := find(rt); ok {
			return f, nil
		}
	}
	if err := s.createOn(ctx, t.addr, followUpTopic, followUpQueues); err != nil {
		return t, fmt.Errorf("create the topic %q for follow-up records: %w", followUpTopic, err)
	}
	rt, err := s.routes.refreshTopic(ctx, followUpTopic)
	if err != nil {
		return t, err
	}
	if f, ok := find(rt); ok {
		return f, nil
	}
	return t, fmt.Errorf("%w: topic %q has no route to %q yet", store.ErrUnavailable, followUpTopic, t.Broker)
}

// followUpQueues is the number of queues of the follow-up topic on each broker.
const followUpQueues = 8

// choose returns the physical queue for a key. It avoids brokers that failed a moment ago if there are others.
func (s *Store) choose(rt *topicRoute, topic, key string) (target, bool) {
	if len(rt.writable) == 0 {
		return target{}, false
	}
	h := hash(key)
	p := rt.writable[h%uint32(len(rt.writable))]
	if s.suspect.has(p.Broker) {
		var others []store.Partition
		for _, q := range rt.writable {
			if !s.suspect.has(q.Broker) {
				others = append(others, q)
			}
		}
		if len(others) > 0 {
			p = others[h%uint32(len(others))]
		}
	}
	return target{topic: topic, Partition: p, addr: rt.addrs[p.Broker]}, true
}

func hash(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32()
}

// retry decides what a failure means: the end of the append, or another attempt after a back-off. It blocks during the back-off, so
// callbacks must start it in a goroutine.
func (op *operation) retry(err error, broker string) {
	s := op.s
	if end := op.ended(); end != nil {
		op.finish(store.Position{}, fmt.Errorf("%w (last failure: %w)", end, err))
		return
	}
	var refused *sendError
	switch {
	case errors.As(err, &refused) && refused.code == remoting.MessageIllegal && op.batch != nil:
		op.alone()
		return
	case errors.As(err, &refused) && refused.code == remoting.MessageIllegal:
		op.finish(store.Position{}, fmt.Errorf("%w: %w", store.ErrTooLarge, err))
		return
	case errors.Is(err, store.ErrInvalidTopic):
		op.finish(store.Position{}, err)
		return
	case errors.As(err, &refused) && refused.code == remoting.TopicNotExist, remoting.IsCode(err, remoting.TopicNotExist):
		if final := op.missing(); final != nil {
			op.finish(store.Position{}, final)
			return
		}
	case broker != "" && refused == nil:
		s.suspect.add(broker)
		s.own.interrupted(broker)
	}
	if op.tries == 0 {
		s.log.Debug("append failed, trying again", "topic", op.append.Topic, "broker", broker, "error", err)
	}
	s.metrics.retries.Inc()
	wait := min(firstBackoff<<min(op.tries, 10), lastBackoff)
	op.tries++
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-op.ctx.Done():
	case <-s.base.Done():
	}
	end := op.ended()
	if end == nil && op.append.Holder != nil && op.append.Holder.Held() {
		end = errHeld
	}
	if end != nil {
		op.finish(store.Position{}, fmt.Errorf("%w (last failure: %w)", end, err))
		return
	}
	op.attempt()
}

// errHeld ends an append that the caller may not repeat for now.
var errHeld = fmt.Errorf("%w: the record may not be stored now", store.ErrUnavailable)

// missing returns the final error of an append whose topic has no route, or nil to continue retrying.
func (op *operation) missing() error {
	r := op.s.routes
	if r.known(op.append.Topic) == nil && time.Since(op.began) < unknownAfter {
		return nil
	}
	if _, err := r.refreshTopic(op.ctx, op.append.Topic); err == nil || !remoting.IsCode(err, remoting.TopicNotExist) {
		return nil
	}
	if err := r.missing(op.ctx, op.append.Topic); errors.Is(err, store.ErrUnknownTopic) && !op.s.remade(op.ctx, op.append.Topic) {
		return err
	}
	return nil
}

// finish ends the append.
func (op *operation) finish(p store.Position, err error) {
	s := op.s
	switch {
	case err == nil:
		s.metrics.stored.Add(float64(op.messages()))
		s.metrics.seconds.Observe(time.Since(op.began).Seconds())
	case op.ctx.Err() == nil && s.base.Err() != nil:
		err = fmt.Errorf("append to %q: %w", clip(op.append.Topic), store.ErrClosed)
	case op.ctx.Err() != nil:
		err = fmt.Errorf("append to %q: %w: %w", clip(op.append.Topic), store.ErrUnavailable, err)
	default:
		err = fmt.Errorf("append to %q: %w", clip(op.append.Topic), err)
	}
	if err != nil {
		s.metrics.failed.Add(float64(op.messages()))
	}
	s.release(op.messages())
	op.done(p, err)
	s.end()
}

// suspects are the brokers that failed a moment ago.
type suspects struct {
	mu sync.RWMutex
	of map[string]suspicion
}

type suspicion struct {
	fails int
	until time.Time
}

// add records a failure. Failures while the broker is already suspect are ignored: they belong to attempts that began earlier.
func (s *suspects) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string]suspicion)
	}
	last := s.of[name]
	if time.Now().Before(last.until) {
		return
	}
	s.of[name] = suspicion{fails: last.fails + 1, until: time.Now().Add(min(suspectFor<<min(last.fails, 10), suspectMost))}
}

func (s *suspects) has(name string) bool {
	s.mu.RLock()
	last, ok := s.of[name]
	s.mu.RUnlock()
	return ok && time.Now().Before(last.until)
}

// clear records a success.
func (s *suspects) clear(name string) {
	s.mu.RLock()
	_, ok := s.of[name]
	s.mu.RUnlock()
	if !ok {
		return
	}
	s.mu.Lock()
	delete(s.of, name)
	s.mu.Unlock()
}
