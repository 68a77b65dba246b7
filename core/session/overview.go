package session

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Client describes a connected client to operators.
type Client struct {
	ClientID, Username, Version, RemoteAddr, Listener string

	Connected     time.Time
	Durable       bool
	Expiry        time.Duration // meta.NeverExpires: for ever
	Subscriptions int
	InFlight      int
	Delivered     uint64
}

// Clients describes the connected clients, in no order.
func (m *Manager) Clients() []Client {
	all := m.inMemory()
	out := make([]Client, 0, len(all))
	for _, s := range all {
		if c, ok := s.describe(); ok {
			out = append(out, c)
		}
	}
	return out
}

// Client describes a client that is connected to this node; ok is false if it is not.
func (m *Manager) Client(id string) (c Client, ok bool) {
	if s := m.session(id); s != nil {
		return s.describe()
	}
	return Client{}, false
}

// describe describes the session's client, if it is connected.
func (s *Session) describe() (c Client, connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return Client{}, false
	}
	return Client{ClientID: s.id, Username: s.username, Version: s.version.String(), RemoteAddr: s.remoteAddr, Listener: s.listener,
		Connected: s.connected, Durable: s.durable(), Expiry: s.expiry, Subscriptions: len(s.subs), InFlight: s.out.Len(),
		Delivered: s.delivered.Load()}, true
}

// SubscriptionInfo describes one subscription of a connected client to operators.
type SubscriptionInfo struct {
	ClientID string
	Filter   string
	QoS      byte
	// ShareGroup is the group of a shared subscription.
	ShareGroup string
}

// Subscriptions describes the subscriptions of the connected clients, in no order.
func (m *Manager) Subscriptions() []SubscriptionInfo {
	all := m.inMemory()
	var out []SubscriptionInfo
	for _, s := range all {
		list, _ := s.describeSubscriptions()
		out = append(out, list...)
	}
	return out
}

// subscriptionCount returns how many subscriptions the connected clients have.
func (m *Manager) subscriptionCount() (n int) {
	for _, s := range m.inMemory() {
		s.mu.Lock()
		if s.conn != nil {
			n += len(s.subs)
		}
		s.mu.Unlock()
	}
	return n
}

// describeSubscriptions describes the subscriptions of the session's client, if it is connected.
func (s *Session) describeSubscriptions() (list []SubscriptionInfo, connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, false
	}
	for _, sub := range s.subs {
		list = append(list, SubscriptionInfo{s.id, sub.filter, sub.qos, sub.group})
	}
	return list, true
}

// Backlog is the number of messages of one subscription that the client has not acknowledged.
type Backlog struct {
	// Filter of the subscription; empty for point-to-point messages.
	Filter  string
	QoS     byte
	Created time.Time
	// Messages is the number of stored messages; -1 if the session has no queue for the subscription: it is shared, or ends with its
	// connection.
	Messages int64
}

// queueStart is the first offset of a session in a queue.
type queueStart struct {
	ref   store.QueueRef
	start int64
	of    int // index of the subscription
}

// Backlogs returns the backlog of each subscription of a recorded session, and of its point-to-point messages. It asks each broker once.
// Progress of the last second may not be committed yet and then counts as unacknowledged.
func (m *Manager) Backlogs(ctx context.Context, rec *meta.Session) ([]Backlog, error) {
	out := make([]Backlog, 0, len(rec.Subscriptions)+1)
	var queues []queueStart
	for i := range rec.Subscriptions {
		sub := &rec.Subscriptions[i]
		b := Backlog{Filter: sub.Filter, QoS: sub.QoS, Created: sub.Created}
		if _, _, shared, _ := topic.ParseShared(sub.Filter); shared {
			b.Messages = -1
		}
		for key, start := range sub.Start {
			queues = append(queues, queueStart{refOf(sub.Filter, key), start, len(out)})
		}
		out = append(out, b)
	}
	p2p, err := m.onBrokers(ctx, "", topic.P2PQueue(rec.ClientID))
	if err != nil {
		return nil, err
	}
	for _, ref := range p2p {
		queues = append(queues, queueStart{ref, 0, len(out)})
	}
	out = append(out, Backlog{QoS: 2, Created: rec.Created})
	refs := make([]store.QueueRef, len(queues))
	byBroker := make(map[string][]int)
	for i, q := range queues {
		refs[i] = q.ref
		byBroker[q.ref.Broker] = append(byBroker[q.ref.Broker], i)
	}
	committed, err := m.o.Store.Committed(ctx, rec.ClientID, refs)
	if err != nil {
		return nil, err
	}
	next := make(map[store.QueueRef]int64, len(committed))
	for _, o := range committed {
		next[o.QueueRef] = o.Next
	}
	for broker, indexes := range byBroker {
		names := make([]string, len(indexes))
		for i, at := range indexes {
			names[i] = queues[at].ref.Queue
		}
		bounds, err := m.o.Store.BoundsOn(ctx, broker, names)
		if err != nil {
			return nil, err
		}
		for i, at := range indexes {
			q := queues[at]
			from := max(q.start, next[q.ref], bounds[i].Min)
			out[q.of].Messages += max(0, bounds[i].Max-from)
		}
	}
	return out, nil
}

// SubscriptionsOf describes the subscriptions of a client that is connected to this node, in order; ok is false if it is not.
func (m *Manager) SubscriptionsOf(id string) (list []SubscriptionInfo, ok bool) {
	s := m.session(id)
	if s == nil {
		return nil, false
	}
	list, ok = s.describeSubscriptions()
	slices.SortFunc(list, func(a, b SubscriptionInfo) int { return cmp.Compare(a.Filter, b.Filter) })
	return list, ok
}
