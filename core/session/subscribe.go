package session

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
)

// Subscribe makes subscriptions for valid, authorised filters. It returns a code for each filter once the subscriptions are recorded so
// that a crash cannot lose them. The caller calls the returned function once SUBACK is in the connection's buffer: it starts the flow of
// retained messages.
func (s *Session) Subscribe(ctx context.Context, list []Subscription) ([]packet.Code, func()) {
	ctx, cancel := context.WithTimeout(ctx, s.m.subscribeTimeout(len(list)))
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
	over, why := 0, error(nil)
	for i, in := range list {
		codes[i] = packet.Code(in.QoS)
		switch failed := cmp.Or(b.errs[in.Filter], err); {
		case errors.Is(failed, errTooManySubscriptions), errors.Is(failed, errNoSubscriptionMemory):
			codes[i] = packet.QuotaExceeded
			over, why = over+1, failed
			if errors.Is(failed, errTooManySubscriptions) {
				s.m.metrics.overClient.Inc()
			} else {
				s.m.metrics.overMemory.Inc()
			}
		case errors.Is(failed, meta.ErrTooManyFilters), errors.Is(failed, meta.ErrLimit):
			codes[i] = packet.QuotaExceeded
			over, why = over+1, failed
		case failed != nil:
			codes[i] = s.refused(in.Filter, failed)
		}
	}
	if over > 0 { // one line per packet
		s.m.log.Warn("subscriptions refused: there is no room for more", "client", s.id, "refused", over, "error", why)
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
	default:
		return packet.UnspecifiedError
	}
}

// drop ends a subscription in memory. Called with mu held.
func (s *Session) drop(sub *subscription) {
	if sub == nil {
		return
	}
	for _, f := range sub.feeds {
		f.end()
	}
	s.giveMemory(sub)
	if s.subs[sub.filter] == sub {
		s.removeSubscription(sub)
	}
}

// Unsubscribe ends subscriptions; it returns a code for each filter.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) []packet.Code {
	return s.endSubscriptions(ctx, nil, filters, func() {})
}

// endSubscriptions ends subscriptions and calls then in the same critical section, with mu held. If c is no longer the session's
// connection, it does nothing and returns nil. A nil c stands for any connection.
func (s *Session) endSubscriptions(ctx context.Context, c Conn, filters []string, then func()) []packet.Code {
	codes := make([]packet.Code, len(filters))
	done := s.change(ctx)
	defer done()
	refs := make(map[store.QueueRef]struct{})
	s.mu.Lock()
	if c != nil && s.conn != c {
		s.mu.Unlock()
		return nil
	}
	changed := false
	for i, filter := range filters {
		sub := s.subs[filter]
		if sub == nil {
			codes[i] = packet.NoSubscriptionExisted
			continue
		}
		for _, f := range sub.feeds {
			if f.at.Ref.Queue != "" {
				refs[f.at.Ref] = struct{}{}
			}
		}
		s.drop(sub)
		changed = true
	}
	// Two filters may share a queue. The progress of a queue that is still read is kept.
	s.eachFeed(func(f *feed) { delete(refs, f.at.Ref) })
	then()
	s.mu.Unlock()
	if !s.durable() || !changed {
		return codes
	}
	if err := s.save(ctx); err != nil {
		s.m.log.Warn("recording the end of subscriptions failed; they may come back with the session", "client", s.id, "error", err)
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

// save writes the session's record. It does not abandon a write when a connection ends: the outcome would be unknown. If another node has
// taken the session over, its connection here is closed.
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

// saveTimeout bounds one write of a record, including the wait for earlier writes.
const saveTimeout = 20 * time.Second

// fill copies the session's state into its record. Called with mu held.
func (s *Session) fill(r *meta.Session) {
	r.Username, r.ProtocolVersion, r.Epoch, r.Node, r.Expiry = s.username, byte(s.version), s.epoch, s.m.o.NodeID, s.expiry
	r.Connected = s.connected
	r.Subscriptions = r.Subscriptions[:0]
	for _, sub := range s.subs {
		r.Subscriptions = append(r.Subscriptions, meta.Subscription{Filter: sub.filter, QoS: sub.qos, NoLocal: sub.options.NoLocal,
			RetainAsPublished: sub.options.RetainAsPublished, RetainHandling: sub.options.RetainHandling, ID: sub.id,
			Created: sub.created, Start: maps.Clone(sub.starts)})
	}
	slices.SortFunc(r.Subscriptions, func(a, b meta.Subscription) int { // a fixed order, so that an unchanged record is not written
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Filter, b.Filter))
	})
	starts := make(map[string]int64, len(s.p2p))
	for _, f := range s.p2p {
		if f.at.Ref.Queue != "" {
			starts[f.at.Ref.Broker] = f.at.Start
		}
	}
	record.SetP2PStarts(r, starts)
	marks := s.marksNow()
	record.SetMarks(r, marks)
	record.SetProgress(r, s.reachedNow(marks))
	r.SetOwner(s.owner)
}

// reachedNow returns how far the session has got in each queue of the brokers that have marks. Called with mu held.
func (s *Session) reachedNow(marks map[string]store.Mark) map[store.QueueRef]int64 {
	if len(marks) == 0 {
		return nil
	}
	all := make(map[store.QueueRef]int64)
	s.eachFeed(func(f *feed) {
		if f.at.Ref.Queue == "" || marks[f.at.Ref.Broker] == "" {
			return
		}
		next, known := f.at.Acked(), f.at.Placed
		if !known {
			next, known = s.reached[f.at.Ref]
		}
		if before, ok := all[f.at.Ref]; known && (!ok || next < before) { // filters may share a queue
			all[f.at.Ref] = next
		}
	})
	return all
}

// marksNow returns a mark of each broker's log in which the session's progress is valid. Called with mu held.
func (s *Session) marksNow() map[string]store.Mark {
	cuts := make(map[string]int32)
	marks := make(map[string]store.Mark)
	s.eachFeed(func(f *feed) {
		broker := f.at.Ref.Broker
		if f.at.Ref.Queue == "" {
			return
		}
		n := f.cuts
		if !f.at.Placed {
			n = unplaced
		}
		if before, ok := cuts[broker]; !ok || n < before {
			cuts[broker] = n
		}
	})
	for broker, n := range cuts {
		mark := s.marks[broker]
		if n != unplaced {
			mark = cmp.Or(s.m.o.Store.Mark(broker, n), mark)
		}
		if mark != "" {
			marks[broker] = mark
		}
	}
	return marks
}

// unplaced stands for the cuts of a feed whose progress is as the record has it.
const unplaced = -1

// subscribeTimeout bounds one SUBSCRIBE. The bound grows with the number of filters: a backend that writes key by key needs time for each.
func (m *Manager) subscribeTimeout(filters int) time.Duration {
	base := m.o.SubscribeTimeout
	return min(base+time.Duration(filters-1)*filterTime, 6*base)
}

const filterTime = 50 * time.Millisecond
