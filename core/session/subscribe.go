package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Subscribe takes filters that are valid and were authorised. It returns a code for each, once they are recorded where a crash
// cannot lose them, and what to call once SUBACK is in the connection's buffer: it makes retained messages flow.
func (s *Session) Subscribe(ctx context.Context, list []Subscription) ([]packet.Code, func()) {
	ctx, cancel := context.WithTimeout(ctx, s.m.o.SubscribeTimeout)
	defer cancel()
	codes := make([]packet.Code, len(list))
	fresh := make([]bool, len(list))
	suback := make(chan struct{})
	var added []*subscription
	for i, in := range list {
		sub, isNew, err := s.prepare(ctx, in, suback)
		if err == nil && isNew {
			added = append(added, sub)
		}
		codes[i], fresh[i] = packet.Code(in.QoS), isNew
		if err != nil {
			codes[i] = s.refused(in.Filter, err)
		}
	}
	if err := s.record(ctx, added); err != nil {
		for i, in := range list {
			if codes[i] < packet.UnspecifiedError {
				codes[i] = s.refused(in.Filter, err)
			}
		}
		s.mu.Lock()
		for _, sub := range added {
			s.drop(sub)
		}
		s.mu.Unlock()
		return codes, func() {}
	}
	return codes, s.lookUp(list, codes, fresh, suback)
}

// refused logs why a filter is refused and returns the code for SUBACK.
func (s *Session) refused(filter string, err error) packet.Code {
	s.m.log.Warn("subscription refused", "client", s.id, "filter", filter, "error", err)
	switch {
	case publish.Refused(err):
		return packet.TopicFilterInvalid
	case errors.Is(err, meta.ErrTooManyFilters), errors.Is(err, meta.ErrLimit), errors.Is(err, store.ErrTooLarge):
		return packet.QuotaExceeded
	default:
		return packet.UnspecifiedError
	}
}

// prepare makes or changes one subscription in memory, with its feeds open. A new one is complete once it is recorded.
func (s *Session) prepare(ctx context.Context, in Subscription, suback <-chan struct{}) (*subscription, bool, error) {
	s.mu.Lock()
	if old := s.subs[in.Filter]; old != nil {
		// [MQTT-3.8.4-3]: replaced, and what is queued for it stays.
		old.qos, old.options, old.id = in.QoS, in.Subscription, in.ID
		s.mu.Unlock()
		if s.durable() {
			return old, false, s.save(ctx)
		}
		return old, false, nil
	}
	s.mu.Unlock()
	sub := newSubscription(in.Filter)
	sub.qos, sub.options, sub.id, sub.created, sub.opening = in.QoS, in.Subscription, in.ID, time.Now(), true
	if !sub.shared() {
		sub.retains.suback = suback
	}
	if err := s.openSubscription(ctx, sub); err != nil {
		s.mu.Lock()
		s.drop(sub)
		s.mu.Unlock()
		return nil, false, err
	}
	return sub, true, nil
}

// openSubscription opens the feeds of a new subscription, from now on.
func (s *Session) openSubscription(ctx context.Context, sub *subscription) error {
	if sub.shared() {
		return s.joinGroup(ctx, sub)
	}
	broad := topic.HasWildcardFirst(sub.filter)
	if !broad {
		if _, err := s.m.o.Catalog.Ensure(ctx, topic.First(sub.filter)); err != nil {
			return err
		}
	}
	if !s.durable() {
		return s.openTailFeed(ctx, sub, s.m.o.Hub.Live)
	}
	if err := s.m.o.Meta.RegisterFilters(ctx, sub.filter); err != nil {
		return err
	}
	// The tail first: what is stored after it runs and lacks the queue comes through it.
	if err := s.openTailFeed(ctx, sub, s.m.o.Hub.Loose); err != nil {
		return err
	}
	refs, err := s.m.queues(ctx, sub.filter)
	if err != nil {
		return err
	}
	feeds, err := s.newFeeds(ctx, sub, refs)
	if err != nil {
		return err
	}
	s.mu.Lock()
	sub.starts = make(map[string]int64, len(refs))
	for _, f := range feeds {
		sub.starts[startKey(sub.filter, f.ref)] = f.start
	}
	sub.feeds, sub.opening = append(sub.feeds, feeds...), false
	waits := slices.ContainsFunc(feeds, func(f *feed) bool { return !f.placed })
	s.mu.Unlock()
	for _, f := range feeds {
		if !f.placed {
			continue
		}
		if err := s.openQueueFeed(ctx, f); err != nil {
			return err
		}
	}
	if waits {
		s.mu.Lock()
		generation := s.generation
		s.mu.Unlock()
		s.m.run(func() { s.keepOpening(generation, false) })
	}
	return nil
}

type openTail func(ctx context.Context, filter string, owner delivery.Owner) (*delivery.LiveReader, error)

// openTailFeed opens a feed of the tail for a subscription.
func (s *Session) openTailFeed(ctx context.Context, sub *subscription, open openTail) error {
	f := &feed{s: s, sub: sub}
	// The pump may be told of the feed before it is part of the subscription: it then finds no reader and is told again.
	r, err := open(ctx, sub.filter, f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.reader = r
	sub.feeds = append(sub.feeds, f)
	s.addSubscription(sub)
	s.feedReady(f)
	return nil
}

// openQueueFeed opens a feed of a queue at its cursor.
func (s *Session) openQueueFeed(ctx context.Context, f *feed) error {
	var r *delivery.QueueReader
	var err error
	if f.sub == nil {
		r, err = s.m.o.Hub.QueueP2P(ctx, s.id, f.ref.Broker, f.start, f.cursor, f)
	} else {
		r, err = s.m.o.Hub.Queue(ctx, f.sub.filter, f.ref, f.start, f.cursor, f)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.closed || s.conn == nil {
		r.Close()
		return nil
	}
	f.reader, f.queue = r, r
	s.feedReady(f)
	return nil
}

// record makes new subscriptions durable: their starts are committed and the session's record is saved.
func (s *Session) record(ctx context.Context, added []*subscription) error {
	if !s.durable() || len(added) == 0 {
		return nil
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	return s.save(ctx)
}

// drop ends a subscription in memory. Called with mu held.
func (s *Session) drop(sub *subscription) {
	if sub == nil {
		return
	}
	for _, f := range sub.feeds {
		s.closeFeed(f)
		f.closed = true
	}
	if s.subs[sub.filter] == sub {
		s.removeSubscription(sub)
	}
}

func (s *Session) closeFeed(f *feed) {
	if f.reader != nil {
		f.reader.Close()
	}
	f.reader, f.queue, f.group = nil, nil, nil
}

// Unsubscribe ends subscriptions; it returns a code for each filter.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) []packet.Code {
	codes := make([]packet.Code, len(filters))
	var refs []store.QueueRef
	s.mu.Lock()
	changed := false
	for i, filter := range filters {
		sub := s.subs[filter]
		if sub == nil {
			codes[i] = packet.NoSubscriptionExisted
			continue
		}
		for _, f := range sub.feeds {
			if f.ref.Queue != "" {
				refs = append(refs, f.ref)
			}
		}
		s.drop(sub)
		changed = true
	}
	// Two filters may share a queue; its progress is still needed then.
	s.eachFeed(func(f *feed) {
		refs = slices.DeleteFunc(refs, func(r store.QueueRef) bool { return r == f.ref })
	})
	s.mu.Unlock()
	if !s.durable() || !changed {
		return codes
	}
	if err := s.save(ctx); err != nil {
		s.m.log.Warn("recording an UNSUBSCRIBE failed; the subscription may come back with the session", "client", s.id, "error", err)
		for i := range codes {
			if codes[i] == packet.Success {
				codes[i] = packet.UnspecifiedError
			}
		}
		return codes
	}
	if err := s.m.o.Store.Forget(ctx, s.id, refs); err != nil {
		s.m.log.Debug("removing committed offsets failed", "client", s.id, "error", err)
	}
	return codes
}

// save writes the session's record.
func (s *Session) save(ctx context.Context) error {
	if !s.durable() {
		return nil
	}
	s.mu.Lock()
	s.rec.Update(s.fill)
	s.mu.Unlock()
	return s.rec.Save(ctx)
}

// fill brings the record up to date. Called with mu held.
func (s *Session) fill(r *meta.Session) {
	r.Username, r.ProtocolVersion, r.Epoch, r.Node, r.Expiry = s.username, byte(s.version), s.epoch, s.m.o.NodeID, s.expiry
	r.Connected = s.connected
	r.Subscriptions = r.Subscriptions[:0]
	for _, sub := range s.subs {
		r.Subscriptions = append(r.Subscriptions, meta.Subscription{Filter: sub.filter, QoS: sub.qos, NoLocal: sub.options.NoLocal,
			RetainAsPublished: sub.options.RetainAsPublished, RetainHandling: sub.options.RetainHandling, ID: sub.id,
			Created: sub.created, Start: maps.Clone(sub.starts)})
	}
	slices.SortFunc(r.Subscriptions, func(a, b meta.Subscription) int { return a.Created.Compare(b.Created) })
	starts := make(map[string]int64, len(s.p2p))
	for _, f := range s.p2p {
		if f.ref.Queue != "" {
			starts[f.ref.Broker] = f.start
		}
	}
	record.SetP2PStarts(r, starts)
}
