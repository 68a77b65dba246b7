package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/topic"
)

// firstOf keeps the first n of a list by key, whatever the order in which they come.
type firstOf[T any] struct {
	n    int
	key  func(T) string
	list []T // sorted; one more than n where there are more
}

// add adds an item, unless n others come before it.
func (f *firstOf[T]) add(item T) {
	at, _ := slices.BinarySearchFunc(f.list, f.key(item), func(have T, key string) int { return strings.Compare(f.key(have), key) })
	if at > f.n {
		return
	}
	f.list = slices.Insert(f.list, at, item)
	if len(f.list) > f.n+1 {
		f.list = f.list[:f.n+1]
	}
}

// page returns the items, and the key after which the list goes on.
func (f *firstOf[T]) page() (list []T, next string) {
	if len(f.list) <= f.n {
		return f.list, ""
	}
	return f.list[:f.n], f.key(f.list[f.n-1])
}

// Clients lists clients: those connected to this node, and those whose session the metadata has.
func (b *backend) Clients(ctx context.Context, q admin.ClientQuery) ([]admin.Client, string, error) {
	wanted := func(id, username string) bool {
		return id > q.After && strings.HasPrefix(id, q.Prefix) && (q.Username == "" || q.Username == username)
	}
	found := &firstOf[admin.Client]{n: q.Limit, key: func(c admin.Client) string { return c.ClientID }}
	here := make(map[string]bool)
	for _, c := range b.g.sessions.Clients() {
		here[c.ClientID] = true
		if q.State != "sleeping" && wanted(c.ClientID, c.Username) {
			found.add(b.connected(&c))
		}
	}
	err := b.g.meta.EachSessionState(ctx, func(rec *meta.Session) error {
		c := recorded(rec)
		fits := q.State == "all" || c.Connected == (q.State == "connected")
		if !here[rec.ClientID] && fits && wanted(rec.ClientID, rec.Username) {
			found.add(c)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := found.page()
	return list, next, nil
}

// connected describes a client that is connected to this node.
func (b *backend) connected(c *session.Client) admin.Client {
	return admin.Client{ClientID: c.ClientID, Username: c.Username, Connected: true, Node: b.g.id, Protocol: c.Version,
		RemoteAddress: c.RemoteAddr, Listener: c.Listener, Since: c.Connected, Durable: c.Durable, Expiry: expirySeconds(c.Expiry),
		Subscriptions: &c.Subscriptions, InFlight: c.InFlight, Delivered: c.Delivered}
}

// recorded describes a client by its session's record.
func recorded(rec *meta.Session) admin.Client {
	c := admin.Client{ClientID: rec.ClientID, Username: rec.Username, Connected: rec.Disconnected.IsZero(), Node: rec.Node,
		Protocol: packet.Version(rec.ProtocolVersion).String(), Since: rec.Disconnected, Durable: true, Expiry: expirySeconds(rec.Expiry)}
	if c.Connected {
		c.Since = rec.Connected
	}
	return c
}

func expirySeconds(d time.Duration) int64 {
	if d == meta.NeverExpires {
		return -1
	}
	return int64(d / time.Second)
}

// Client describes one client, and how far it is behind.
func (b *backend) Client(ctx context.Context, id string) (admin.ClientDetail, error) {
	var out admin.ClientDetail
	live, here := b.g.sessions.Client(id)
	rec, err := b.g.meta.LoadSession(ctx, id)
	switch {
	case err != nil:
		return out, err
	case !here && rec == nil:
		return out, noClient(id)
	case here:
		out.Client = b.connected(&live)
	default:
		out.Client = recorded(rec)
	}
	if rec == nil || here && !live.Durable {
		subs, _ := b.g.sessions.SubscriptionsOf(id)
		for _, sub := range subs {
			out.Queues = append(out.Queues, admin.Backlog{Filter: sub.Filter, QoS: sub.QoS, Messages: -1})
		}
		return out, nil
	}
	backlogs, err := b.g.sessions.Backlogs(ctx, rec)
	if err != nil {
		return out, err
	}
	for _, v := range backlogs {
		out.Queues = append(out.Queues, admin.Backlog{Filter: v.Filter, QoS: v.QoS, Created: v.Created, Messages: v.Messages})
		out.Backlog += max(0, v.Messages)
	}
	return out, nil
}

func noClient(id string) error {
	return fmt.Errorf("%w: there is no client %q: it is not connected to this node, and no session of it is kept", admin.ErrNotFound, id)
}

// Kick closes a client's connection.
func (b *backend) Kick(_ context.Context, clientID string) error {
	if !b.g.sessions.Kick(clientID) {
		return fmt.Errorf("%w: client %q is not connected to this node", admin.ErrNotFound, clientID)
	}
	return nil
}

// EndSession ends a session for good.
func (b *backend) EndSession(ctx context.Context, clientID string) error {
	err := b.g.sessions.End(ctx, clientID)
	switch {
	case errors.Is(err, session.ErrNoSession):
		return fmt.Errorf("%w: client %q has no session", admin.ErrNotFound, clientID)
	case errors.Is(err, session.ErrElsewhere):
		return admin.Conflict("%w; end the session there", err)
	}
	return err
}

// Recent lists the last refusals and disconnections.
func (b *backend) Recent() []admin.Event {
	events := b.g.mqtt.Recent()
	out := make([]admin.Event, 0, len(events))
	for _, e := range events {
		out = append(out, admin.Event{Time: e.Time, Kind: e.Kind, ClientID: e.ClientID, Username: e.Username, RemoteAddress: e.RemoteAddr,
			Reason: e.Reason, Cause: e.Cause})
	}
	return out
}

// Subscriptions lists the subscriptions of the clients that are connected here, or of one client wherever it is.
func (b *backend) Subscriptions(ctx context.Context, q admin.SubscriptionQuery) ([]admin.Subscription, string, error) {
	found := &firstOf[admin.Subscription]{n: q.Limit, key: subscriptionKey}
	add := func(s admin.Subscription) {
		_, inner, shared, _ := topic.ParseShared(s.Filter)
		if !shared {
			inner = s.Filter
		}
		if subscriptionKey(s) > q.After && (q.Matching == "" || topic.Match(inner, q.Matching)) {
			found.add(s)
		}
	}
	if q.ClientID == "" {
		for _, s := range b.g.sessions.Subscriptions() {
			add(admin.Subscription(s))
		}
		list, next := found.page()
		return list, next, nil
	}
	if subs, here := b.g.sessions.SubscriptionsOf(q.ClientID); here {
		for _, s := range subs {
			add(admin.Subscription(s))
		}
	} else {
		rec, err := b.g.meta.LoadSession(ctx, q.ClientID)
		switch {
		case err != nil:
			return nil, "", err
		case rec == nil:
			return nil, "", noClient(q.ClientID)
		}
		for _, sub := range rec.Subscriptions {
			group, _, _, _ := topic.ParseShared(sub.Filter)
			add(admin.Subscription{ClientID: rec.ClientID, Filter: sub.Filter, QoS: sub.QoS, ShareGroup: group})
		}
	}
	list, next := found.page()
	return list, next, nil
}

// subscriptionKey orders subscriptions. A client id has no line break that matters here: keys are compared only.
func subscriptionKey(s admin.Subscription) string { return s.ClientID + "\n" + s.Filter }
