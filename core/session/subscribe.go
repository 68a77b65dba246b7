package session

import (
	"cmp"
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
)

// Subscribe takes filters that are valid and were authorised. It returns a code for each, once they are recorded where a crash
// cannot lose them, and what to call once SUBACK is in the connection's buffer: it makes retained messages flow.
func (s *Session) Subscribe(ctx context.Context, list []Subscription) ([]packet.Code, func()) {
	ctx, cancel := context.WithTimeout(ctx, s.m.o.SubscribeTimeout)
	defer cancel()
	codes := make([]packet.Code, len(list))
	fresh := make([]bool, len(list))
	suback := make(chan struct{})
	done := s.change(ctx)
	defer done()
	if s.detached() {
		for i := range codes {
			codes[i] = packet.UnspecifiedError
		}
		return codes, func() {}
	}
	b := s.prepare(list, fresh, suback)
	b.open(ctx)
	err := b.record(ctx)
	for i, in := range list {
		codes[i] = packet.Code(in.QoS)
		if failed := cmp.Or(b.errs[in.Filter], err); failed != nil {
			codes[i] = s.refused(in.Filter, failed)
		}
	}
	if b.undo(ctx, err); err != nil {
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
	done := s.change(ctx)
	defer done()
	refs := make(map[store.QueueRef]struct{})
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
				refs[f.ref] = struct{}{}
			}
		}
		s.drop(sub)
		changed = true
	}
	// Two filters may share a queue; its progress is still needed then.
	s.eachFeed(func(f *feed) { delete(refs, f.ref) })
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
	if err := s.m.o.Store.Forget(ctx, s.id, slices.Collect(maps.Keys(refs))); err != nil {
		s.m.log.Debug("removing committed offsets failed", "client", s.id, "error", err)
	}
	return codes
}

// save writes the session's record. A write that has begun is not given up because a connection ends: nobody would know what became
// of it. A session that another node has taken over loses its connection.
func (s *Session) save(ctx context.Context) error {
	if !s.durable() {
		return nil
	}
	s.mu.Lock()
	s.rec.Update(s.fill)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err := s.rec.Save(ctx)
	if errors.Is(err, meta.ErrSuperseded) {
		s.mu.Lock()
		if s.conn != nil {
			s.conn.Close(packet.SessionTakenOver, "another connection uses this client id")
		}
		s.mu.Unlock()
	}
	return err
}

// saveTimeout bounds one write of a record, with those before it.
const saveTimeout = 20 * time.Second

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
	slices.SortFunc(r.Subscriptions, func(a, b meta.Subscription) int { // always the same, so that what is unchanged is not written
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Filter, b.Filter))
	})
	starts := make(map[string]int64, len(s.p2p))
	for _, f := range s.p2p {
		if f.ref.Queue != "" {
			starts[f.ref.Broker] = f.start
		}
	}
	record.SetP2PStarts(r, starts)
}
