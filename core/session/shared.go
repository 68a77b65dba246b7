package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Shared subscriptions (MQTT 5, 4.8.2). A member holds a record of a group from the moment its feed brings the record until the client
// acknowledges it or the session gives it back.
//
// A record sent at QoS 1 and not acknowledged is given back when the connection ends, so that another member gets it at once. A record sent
// at QoS 2 stays with the member until its session ends [MQTT-4.8.2-4], and nobody gets it after that [MQTT-4.8.2-5].
//
// Group records do not take part in the merging of overlapping subscriptions: a client with a shared and an ordinary subscription gets one
// copy for each.

// joinGroup makes the session a member of a group. A new group begins now; an existing one continues where it is.
func (s *Session) joinGroup(ctx context.Context, sub *subscription) error {
	m, by := s.m, s.maker()
	if err := s.roomForGroup(ctx, sub, by); err != nil {
		return err
	}
	refs, err := m.queues(ctx, sub.reads, by)
	if err != nil {
		return err
	}
	// Read the ends before anything else: if two nodes find the group new, neither then skips records stored after the other's SUBACK.
	ends := make([]int64, len(refs))
	for i, ref := range refs {
		b, err := m.o.Store.Bounds(ctx, ref)
		if err != nil {
			return err
		}
		ends[i] = b.Max
	}
	if err := m.o.Meta.LearnFilters(ctx, sub.filter); err != nil {
		return err
	}
	// Place first, register second: a registered group always has a place. A group for which there is no room gets no place.
	fresh := !m.o.Meta.HasFilter(sub.filter)
	if fresh {
		if err := m.o.Meta.Room(s.Owner(), s.id, sub.reads, sub.filter); err != nil {
			return err
		}
	}
	for i, ref := range refs {
		if !fresh {
			break
		}
		if err := m.o.Store.PlaceGroup(ctx, store.Group{Name: sub.group, QueueRef: ref}, ends[i]); err != nil {
			return err
		}
	}
	names := []string{sub.reads, sub.filter}
	r := m.o.Meta.Register(ctx, s.Owner(), s.id, names)
	err = cmp.Or(r.Err(sub.reads), r.Err(sub.filter))
	if err == nil {
		_, err = m.announce(ctx, names...)
	}
	if err == nil {
		err = s.openGroupFeed(sub, refs)
	}
	if err != nil {
		m.run(func() { m.leaveNoGroup(context.WithoutCancel(ctx), r, sub) })
	}
	return err
}

// roomForGroup returns nil unless the group's first-level topic would have to be created and there is no room for the topic or the group:
// a refused subscription creates no topic.
func (s *Session) roomForGroup(ctx context.Context, sub *subscription, by topic.Maker) error {
	m := s.m
	if _, err := m.first(sub.reads); err == nil {
		return nil
	}
	if err := m.o.Catalog.Check(ctx, topic.First(sub.reads), by); err != nil {
		return err
	}
	if err := m.o.Meta.LearnFilters(ctx, sub.filter); err != nil {
		return err
	}
	if m.o.Meta.HasFilter(sub.filter) {
		return nil
	}
	return m.o.Meta.Room(s.Owner(), s.id, sub.reads, sub.filter)
}

// leaveNoGroup undoes the registration of a group whose first member could not join, and then removes the group's place.
func (m *Manager) leaveNoGroup(ctx context.Context, r *meta.Registration, sub *subscription) {
	m.o.Meta.Withdraw(ctx, r, []string{sub.reads, sub.filter})
	if m.o.Meta.HasFilter(sub.filter) {
		return // the group existed before, or has another member
	}
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	if err := m.EndGroup(ctx, sub.filter); err != nil {
		m.log.Debug("the place of a shared group that nobody uses stays", "filter", sub.filter, "error", err)
	}
}

// openGroupFeed opens the feed of a group.
func (s *Session) openGroupFeed(sub *subscription, refs []store.QueueRef) error {
	f := &feed{s: s, sub: sub}
	r, err := s.m.o.Hub.Group(sub.group, sub.reads, refs, f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.subs[sub.filter]; s.conn == nil || have != nil && have != sub || sub.hasTail() {
		r.Close() // the connection has changed or ended: a member that takes nothing must not stay
		return errDetached
	}
	f.reader, f.group = r, r
	sub.feeds, sub.opening = append(sub.feeds, f), false
	s.addSubscription(sub)
	s.feedReady(f)
	return nil
}

// errDetached says that the connection has ended meanwhile.
var errDetached = errors.New("the connection has ended")

// reopenGroupFeed opens the feed of a group that a resumed session belongs to.
func (s *Session) reopenGroupFeed(ctx context.Context, sub *subscription) error {
	refs, err := s.m.queues(ctx, sub.reads, s.maker())
	if errors.Is(err, meta.ErrLimit) {
		return nil // the group's topic was deleted, and there is no room to create it again
	}
	if err == nil {
		err = s.m.o.Meta.RegisterFilters(ctx, sub.reads, sub.filter)
	}
	if err != nil {
		if publish.Refused(err) {
			return nil // the group's topic was deleted
		}
		return err
	}
	if err := s.openGroupFeed(sub, refs); !errors.Is(err, errDetached) {
		return err
	}
	return nil
}

// room returns how many records a feed may bring now. A group feed brings no more than the client's window has room for. Called with mu
// held.
func (s *Session) room(f *feed) int {
	if f.group == nil {
		return f.batch()
	}
	return min(f.batch(), s.window-s.out.Len())
}

// deliverShared sends a group's record. It returns false if the client takes no more; the caller then still holds the record. Called with
// mu held.
func (s *Session) deliverShared(f *feed, item delivery.Item) bool {
	rec, sub := item.Record, f.sub
	if expired(&rec.Message) {
		item.Lease.Ack()
		return true
	}
	qos := min(rec.QoS, sub.qos) // [MQTT-4.8.2-3]
	if qos > 0 && s.windowFull() || !s.takes(&rec.Message, qos, false) {
		return false
	}
	var ids []uint32
	if sub.id != 0 {
		ids = []uint32{sub.id}
	}
	d := s.dispatch(&rec.Message, qos, sub.options.RetainAsPublished && rec.Retain, ids, origin{})
	if d == nil {
		item.Lease.Ack()
		return true
	}
	d.Lease = item.Lease
	return true
}

// handBack returns to the group the records that were taken from it but not sent.
func handBack(items []delivery.Item) {
	leases := make([]*delivery.Lease, len(items))
	for i := range items {
		leases[i] = items[i].Lease
	}
	delivery.Return(leases)
}

// leaveGroups gives back the records that the client did not acknowledge at QoS 1, after its connection has ended. Records sent at QoS 2
// stay with the session if it goes on. Called with mu held.
func (s *Session) leaveGroups() {
	var back []*delivery.Lease
	for _, d := range s.out.InOrder() {
		if d.Lease != nil && d.QoS == 1 {
			back = append(back, d.Lease)
			d.Lease = nil
			s.out.Remove(d)
		}
	}
	delivery.Return(back)
}

// forsake ends the session's part in records that groups still wait for. With ended the session is over, so nobody else is sent the records
// it was sent at QoS 2. Otherwise the session lives on without this state, on another node or after a restart; only records that the client
// is known to have (PUBREC arrived) are not sent again. Called with mu held.
func (s *Session) forsake(ended bool) {
	var back []*delivery.Lease
	for _, d := range s.out.InOrder() {
		switch {
		case d.Lease == nil:
		case d.QoS == 2 && (ended || d.Received):
			d.Lease.Ack()
		default:
			back = append(back, d.Lease)
		}
		d.Lease = nil
	}
	delivery.Return(back)
}

// addGroupQueues adds new queues to a group's feed.
func (s *Session) addGroupQueues(sub *subscription, refs []store.QueueRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range sub.feeds {
		if f.group != nil {
			f.group.AddQueues(refs)
		}
	}
}

// GroupBacklog returns approximately how many records a group ("$share/{group}/{filter}") has not handed out, or has got back. See
// store.GroupLeft.
func (m *Manager) GroupBacklog(ctx context.Context, filter string) (int64, error) {
	sub := newSubscription(filter)
	if !sub.shared() {
		return 0, nil
	}
	refs, err := m.queues(ctx, sub.reads, topic.Maker{})
	if err != nil {
		if publish.Refused(err) {
			return 0, nil // the group's topic was deleted
		}
		return 0, err
	}
	var sum int64
	for _, ref := range refs {
		n, err := m.o.Store.GroupLeft(ctx, store.Group{Name: sub.group, QueueRef: ref})
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// EndGroup removes from the store everything about a retired group ("$share/{group}/{filter}").
func (m *Manager) EndGroup(ctx context.Context, filter string) error {
	sub := newSubscription(filter)
	if !sub.shared() {
		return nil
	}
	refs, err := m.queues(ctx, sub.reads, topic.Maker{})
	if err != nil {
		if publish.Refused(err) {
			return nil
		}
		return err
	}
	var errs []error
	for _, ref := range refs {
		if m.o.Meta.HasFilter(filter) {
			return nil // the group is in use again
		}
		if err := m.o.Store.EndGroup(ctx, store.Group{Name: sub.group, QueueRef: ref}); err != nil {
			errs = append(errs, fmt.Errorf("broker %q: %w", ref.Broker, err))
		}
	}
	return errors.Join(errs...)
}
