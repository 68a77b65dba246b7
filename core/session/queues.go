package session

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// queues lists the queues that can hold records of a filter: one on each broker of its first-level topic. A filter with a wildcard in the
// first level has one on each broker; if a queue may be fed by one topic only, it has one for each topic on each broker. The first-level
// topic is created on behalf of by.
func (m *Manager) queues(ctx context.Context, filter string, by topic.Maker) ([]store.QueueRef, error) {
	if !topic.HasWildcardFirst(filter) {
		physical, err := m.o.Catalog.Ensure(ctx, topic.First(filter), by)
		if err != nil {
			return nil, err
		}
		return m.onBrokers(ctx, physical, topic.Queue(filter))
	}
	if !m.o.Store.Limits().SingleFeeder {
		return m.onBrokers(ctx, "", topic.Queue(filter))
	}
	var refs []store.QueueRef
	for _, first := range m.o.Catalog.Topics() {
		some, err := m.onBrokers(ctx, first, topic.RootQueue(first, topic.Queue(filter)))
		if publish.Refused(err) {
			continue // listed but missing; the hub logs it
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, some...)
	}
	return refs, nil
}

func (m *Manager) onBrokers(ctx context.Context, physical, queue string) ([]store.QueueRef, error) {
	brokers, err := m.o.Store.Brokers(ctx, physical)
	if err != nil {
		return nil, err
	}
	refs := make([]store.QueueRef, len(brokers))
	for i, broker := range brokers {
		refs[i] = store.QueueRef{Queue: queue, Broker: broker}
	}
	return refs, nil
}

// startKey is the name of a filter's queue in a session's record: the broker, followed by the queue if the filter has several.
func startKey(filter string, ref store.QueueRef) string {
	if ref.Queue == topic.Queue(filter) {
		return ref.Broker
	}
	return ref.Broker + "/" + ref.Queue
}

// refOf decodes a startKey.
func refOf(filter, key string) store.QueueRef {
	broker, queue, several := strings.Cut(key, "/")
	if !several {
		queue = topic.Queue(filter)
	}
	return store.QueueRef{Queue: queue, Broker: broker}
}

// watchQueues opens feeds for queues that appear while sessions are connected because a broker joined or a topic was created. An existing
// subscription reads such a queue from the beginning.
func (m *Manager) watchQueues() {
	defer m.wg.Done()
	known := make(map[string]int) // first-level topic -> number of places of its queues; "" for filters of every topic
	tick := time.NewTicker(brokersInterval)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		case <-m.topicsChanged:
		}
		all := m.inMemory()
		looked := make(map[string]bool) // topic -> whether it has more places than before
		for _, s := range all {
			for _, first := range append(s.firsts(), "") {
				if _, done := looked[first]; !done {
					looked[first] = m.grown(known, first)
				}
			}
		}
		for _, s := range all {
			s.addQueues(looked)
		}
	}
}

const brokersInterval = 15 * time.Second

// TopicsChanged tells the manager that the list of first-level topics changed.
func (m *Manager) TopicsChanged() {
	select {
	case m.topicsChanged <- struct{}{}:
	default:
	}
}

// grown reports whether the queues of a topic have more places than at the last call.
func (m *Manager) grown(known map[string]int, first string) bool {
	brokers, err := m.o.Store.Brokers(m.ctx, first)
	if err != nil {
		return false
	}
	n := len(brokers)
	if first == "" && m.o.Store.Limits().SingleFeeder {
		n *= 1 + len(m.o.Catalog.Topics())
	}
	before, asked := known[first]
	known[first] = n
	return !asked || n > before
}

// firsts lists the first-level topics of the session's durable and shared subscriptions, except those with a wildcard in the first level.
func (s *Session) firsts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	out := make([]string, 0, len(s.subs)+1)
	for _, sub := range s.subs {
		if !s.durable() && !sub.shared() {
			continue
		}
		if first, err := s.m.first(sub.reads); err == nil && first != "" {
			out = append(out, first)
		}
	}
	return out
}

// first returns the store's topic of a filter; "" for a filter of every topic.
func (m *Manager) first(filter string) (string, error) {
	if topic.HasWildcardFirst(filter) {
		return "", nil
	}
	return m.o.Catalog.Resolve(topic.First(filter))
}

// addQueues adds feeds for queues that the session does not read yet, for topics that have grown.
func (s *Session) addQueues(grown map[string]bool) {
	s.mu.Lock()
	if s.conn == nil {
		s.mu.Unlock()
		return
	}
	var subs []*subscription
	for _, sub := range s.subs {
		if !s.durable() && !sub.shared() {
			continue
		}
		if first, err := s.m.first(sub.reads); err == nil && grown[first] && !sub.opening {
			subs = append(subs, sub)
		}
	}
	s.mu.Unlock()
	changed := false
	for _, sub := range subs {
		refs, err := s.m.queues(s.m.ctx, sub.reads, s.maker())
		if err != nil {
			continue // tried again with the next change, and when the session is resumed
		}
		if sub.shared() {
			s.addGroupQueues(sub, refs)
			continue
		}
		s.mu.Lock()
		changed = s.addMissing(sub, refs) || changed
		s.mu.Unlock()
	}
	if grown[""] && s.durable() {
		if refs, err := s.m.onBrokers(s.m.ctx, "", topic.P2PQueue(s.id)); err == nil {
			s.mu.Lock()
			changed = s.addMissing(nil, refs) || changed
			s.mu.Unlock()
		}
	}
	if changed {
		s.openFeeds(false)
	}
}

// addMissing adds a feed, starting at the minimum, for each given queue that has none. A nil sub stands for the point-to-point queue.
// Called with mu held.
func (s *Session) addMissing(sub *subscription, refs []store.QueueRef) bool {
	feeds := &s.p2p
	if sub != nil {
		feeds = &sub.feeds
	}
	changed := false
next:
	for _, ref := range refs {
		for _, f := range *feeds {
			if f.at.Ref == ref {
				continue next
			}
		}
		f := &feed{s: s, sub: sub, at: flight.Recorded(ref, 0), since: s.created}
		*feeds = append(*feeds, f)
		if sub != nil {
			f.since = sub.created
			if sub.starts == nil {
				sub.starts = make(map[string]int64)
			}
			sub.starts[startKey(sub.filter, ref)] = 0
		}
		changed = true
	}
	return changed
}

// lookForQueues adds feeds for queues that appeared while the session slept. Filters that cannot be resolved, because their topic was
// deleted, and for which there is no room to create it again, are left out.
func (s *Session) lookForQueues(ctx context.Context) error {
	s.mu.Lock()
	subs := make([]*subscription, 0, len(s.subs))
	for _, sub := range s.subs {
		if !sub.opening && !sub.shared() {
			subs = append(subs, sub)
		}
	}
	s.mu.Unlock()
	var errs []error
	add := func(sub *subscription, refs []store.QueueRef, err error) {
		if err != nil && !publish.Refused(err) && !errors.Is(err, meta.ErrLimit) {
			errs = append(errs, err)
			return
		}
		s.mu.Lock()
		s.addMissing(sub, refs)
		s.mu.Unlock()
	}
	b := &batch{s: s, places: map[string]places{}}
	for _, sub := range subs {
		refs, err := b.queues(ctx, sub.filter)
		add(sub, refs, err)
	}
	refs, err := s.m.onBrokers(ctx, "", topic.P2PQueue(s.id))
	add(nil, refs, err)
	return errors.Join(errs...)
}
