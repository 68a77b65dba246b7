package session

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// batch is the work of one SUBSCRIBE. However many filters it has, it makes few calls to the store and the metadata: each first-level topic
// is looked up once, new filters are registered in one call, each broker is asked once for the ends of the queues, and the record is saved
// once. The record holds the starts; they are committed in the background. Subscriptions that exist already and do not change cost nothing.
type batch struct {
	s *Session
	// added are the new subscriptions, in order.
	added []*subscription
	// changed: a subscription that existed before has new options.
	changed bool
	// errs holds, by filter, why a subscription is refused.
	errs map[string]error
	// registered is the outcome of registering the filters of a durable session.
	registered *meta.Registration
	// unconfirmed is the error with which a new shared group was refused because not every node confirmed it.
	unconfirmed error
	// places caches the brokers of first-level topics, and checked whether a topic exists or could be created.
	places  map[string]places
	checked map[string]error
}

// places lists the brokers that have the queues of one first-level topic.
type places struct {
	brokers []string
	err     error
}

// change serializes changes of the session's subscriptions. The caller calls done at the end of its change. If the change before it takes
// longer than ctx, change stops waiting and the caller goes on: records are written in order anyway.
func (s *Session) change(ctx context.Context) (done func()) {
	select {
	case s.changing <- struct{}{}:
		return func() { <-s.changing }
	case <-ctx.Done():
		return func() {}
	}
}

// prepare makes or changes the subscriptions of a SUBSCRIBE in memory. It sets fresh for those that are new. suback is closed once SUBACK
// is in the connection's buffer.
func (s *Session) prepare(list []Subscription, fresh []bool, suback <-chan struct{}) *batch {
	b := &batch{s: s, errs: map[string]error{}, places: map[string]places{}, checked: map[string]error{}}
	made := make(map[string]*subscription)
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.keys()
	for i, in := range list {
		if sub := made[in.Filter]; sub != nil { // named twice: the later one wins
			sub.qos, sub.options, sub.id = in.QoS, in.Subscription, in.ID
			continue
		}
		if old := s.subs[in.Filter]; old != nil {
			// [MQTT-3.8.4-3]: the subscription is replaced, and the messages queued for it stay.
			b.changed = b.changed || old.qos != in.QoS || old.options != in.Subscription || old.id != in.ID
			old.qos, old.options, old.id = in.QoS, in.Subscription, in.ID
			continue
		}
		if b.errs[in.Filter] != nil {
			continue
		}
		sub := newSubscription(in.Filter)
		if err := s.takeMemory(sub, len(s.subs)+len(b.added), keys); err != nil {
			b.errs[in.Filter] = err
			continue
		}
		if s.durable() || sub.shared() {
			keys++
		}
		sub.qos, sub.options, sub.id, sub.created, sub.opening = in.QoS, in.Subscription, in.ID, time.Now(), true
		if !sub.shared() {
			sub.retains.suback = suback
		}
		made[in.Filter], fresh[i] = sub, true
		b.added = append(b.added, sub)
	}
	return b
}

// at makes sure that a first-level topic exists, and returns the brokers that have queues of it.
func (b *batch) at(ctx context.Context, first string) places {
	p, known := b.places[first]
	if !known {
		var physical string
		if physical, p.err = b.s.m.o.Catalog.Ensure(ctx, first, b.s.maker()); p.err == nil {
			p.brokers, p.err = b.s.m.o.Store.Brokers(ctx, physical)
		}
		b.places[first] = p
	}
	return p
}

// check returns nil if a first-level topic exists or could be created now. It creates nothing.
func (b *batch) check(ctx context.Context, first string) error {
	err, known := b.checked[first]
	if !known {
		err = b.s.m.o.Catalog.Check(ctx, first, b.s.maker())
		b.checked[first] = err
	}
	return err
}

// queues lists the queues that can hold records of a filter, as Manager.queues does.
func (b *batch) queues(ctx context.Context, filter string) ([]store.QueueRef, error) {
	if topic.HasWildcardFirst(filter) {
		return b.s.m.queues(ctx, filter, b.s.maker())
	}
	p := b.at(ctx, topic.First(filter))
	if p.err != nil {
		return nil, p.err
	}
	refs := make([]store.QueueRef, len(p.brokers))
	for i, broker := range p.brokers {
		refs[i] = store.QueueRef{Queue: topic.Queue(filter), Broker: broker}
	}
	return refs, nil
}

// each calls f for each new subscription that is not refused yet.
func (b *batch) each(f func(*subscription) error) {
	for _, sub := range b.added {
		if b.errs[sub.filter] != nil {
			continue
		}
		if err := f(sub); err != nil {
			b.errs[sub.filter] = err
		}
	}
}

// open opens the feeds of the new subscriptions, starting now.
func (b *batch) open(ctx context.Context) {
	if len(b.added) == 0 {
		return
	}
	s := b.s
	b.each(func(sub *subscription) error {
		switch {
		case sub.shared():
			if b.unconfirmed != nil && !s.m.o.Meta.HasFilter(sub.filter) {
				return b.unconfirmed // asking again would use up the time of the other filters
			}
			err := s.joinGroup(ctx, sub)
			if errors.Is(err, errUnconfirmed) {
				b.unconfirmed = err
			}
			return err
		case topic.HasWildcardFirst(sub.filter):
			return nil
		case s.durable(): // the topic is created once there is room for the filter: a refused filter creates none
			return b.check(ctx, topic.First(sub.filter))
		default:
			return b.at(ctx, topic.First(sub.filter)).err
		}
	})
	if !s.durable() {
		b.each(func(sub *subscription) error {
			if sub.shared() {
				return nil
			}
			return s.openTailFeed(ctx, sub, s.m.o.Hub.Live)
		})
		return
	}
	var filters []string
	b.each(func(sub *subscription) error {
		if !sub.shared() {
			filters = append(filters, sub.filter)
		}
		return nil
	})
	if len(filters) > 0 {
		b.registered = s.m.o.Meta.Register(ctx, s.Owner(), s.id, filters)
		b.announce(ctx, filters)
		b.openQueues(ctx)
	}
}

// announce makes the filters known on every node, so that everything published from now on reaches their queues. It refuses the filters
// that some node has not confirmed.
func (b *batch) announce(ctx context.Context, filters []string) {
	failed, err := b.s.m.announce(ctx, filters...)
	for _, filter := range failed {
		if b.registered.Err(filter) == nil {
			b.errs[filter] = err
		}
	}
}

// openQueues opens the feeds of registered filters.
func (b *batch) openQueues(ctx context.Context) {
	s := b.s
	feeds := make(map[*subscription][]*feed, len(b.added))
	var all []*feed
	b.each(func(sub *subscription) error {
		if sub.shared() {
			return nil
		}
		if err := b.registered.Err(sub.filter); err != nil {
			return err
		}
		if !topic.HasWildcardFirst(sub.filter) {
			if err := b.at(ctx, topic.First(sub.filter)).err; err != nil {
				return err
			}
		}
		// The tail comes first: it brings the records that are stored while it runs but missing from the queue.
		if err := s.openTailFeed(ctx, sub, s.m.o.Hub.Loose); err != nil {
			return err
		}
		refs, err := b.queues(ctx, sub.filter)
		if err == nil {
			feeds[sub] = s.newFeeds(sub, refs)
			all = append(all, feeds[sub]...)
		}
		return err
	})
	readers := s.openReaders(ctx, all)
	defer closeReaders(readers)
	failed := s.place(ctx, all)
	waits := false
	b.each(func(sub *subscription) error {
		if sub.shared() {
			return nil
		}
		if !anyPlaced(feeds[sub]) {
			return failed
		}
		s.mu.Lock()
		sub.starts = make(map[string]int64, len(feeds[sub]))
		for _, f := range feeds[sub] {
			sub.starts[startKey(sub.filter, f.at.Ref)] = f.at.Start
			waits = waits || !f.at.Placed
		}
		sub.feeds, sub.opening = append(sub.feeds, feeds[sub]...), false
		s.mu.Unlock()
		for _, f := range feeds[sub] {
			if !f.at.Placed {
				continue
			}
			if r := readers[f]; r != nil {
				delete(readers, f)
				s.handReader(f, r)
			} else if err := s.openQueueFeed(ctx, f); err != nil {
				return err
			}
		}
		return nil
	})
	if waits {
		s.mu.Lock()
		generation := s.generation
		s.mu.Unlock()
		s.m.run(func() { s.keepOpening(generation, false) })
	}
}

// record makes the changes durable: it saves the session's record, which holds the starts. It first drops the subscriptions that were
// refused.
func (b *batch) record(ctx context.Context) error {
	s := b.s
	s.mu.Lock()
	for _, sub := range b.added {
		if b.errs[sub.filter] != nil {
			s.drop(sub)
		}
	}
	s.mu.Unlock()
	added := 0
	b.each(func(*subscription) error { added++; return nil })
	if !s.durable() || added == 0 && !b.changed {
		return nil
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	if added > 0 {
		s.dirty()
	}
	return nil
}

// undo removes all traces of refused filters: those with an error, or all new ones if recording them failed.
func (b *batch) undo(ctx context.Context, failed error) {
	s := b.s
	var gone []string
	s.mu.Lock()
	for _, sub := range b.added {
		if failed != nil {
			s.drop(sub)
		}
		if failed != nil || b.errs[sub.filter] != nil {
			gone = append(gone, sub.filter)
		}
	}
	s.mu.Unlock()
	if len(gone) == 0 || b.registered == nil || errors.Is(failed, meta.ErrSuperseded) {
		return // a session that goes on elsewhere may use them there
	}
	ctx = context.WithoutCancel(ctx)
	s.m.run(func() {
		// A large record may have been written in part even so. Filters that the record names keep their queues.
		if failed == nil || s.save(ctx) == nil {
			s.m.o.Meta.Withdraw(ctx, b.registered, gone)
		}
	})
}
