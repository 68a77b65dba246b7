package gateway

import (
	"cmp"
	"context"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Subscriptions lists the subscriptions of all connected clients on all nodes, or of one client, which may also be sleeping.
func (b *backend) Subscriptions(ctx context.Context, q admin.SubscriptionQuery) (admin.List[admin.Subscription], error) {
	here := b.subscriptionsHere(q)
	if q.ClientID != "" && here.Here {
		return admin.List[admin.Subscription]{Items: here.Items, Next: here.Next}, nil
	}
	answers, missing := ask[subscriptionPart](ctx, b.g.cluster, askSubscriptions, q)
	parts := []part[admin.Subscription]{here.part}
	for _, a := range answers {
		if q.ClientID != "" && a.what.Here {
			return admin.List[admin.Subscription]{Items: a.what.Items, Next: a.what.Next}, nil
		}
		parts = append(parts, a.what.part)
	}
	if q.ClientID != "" {
		return b.recordedSubscriptions(ctx, q, missing)
	}
	return subscriptionPage(q.Limit, parts, missing), nil
}

// subscriptionPage merges the parts of the nodes into a page.
func subscriptionPage(limit int, parts []part[admin.Subscription], missing []admin.Unanswered) admin.List[admin.Subscription] {
	end := endOf(parts)
	found := &firstOf[admin.Subscription]{n: limit, key: subscriptionKey}
	seen := make(map[string]bool) // a moving client is on two nodes for a moment
	for _, p := range parts {
		for _, s := range p.Items {
			if key := subscriptionKey(s); within(key, end) && !seen[key] {
				seen[key] = true
				found.add(s)
			}
		}
	}
	p := found.part()
	return admin.List[admin.Subscription]{Items: p.Items, Next: cmp.Or(p.Next, end), Unanswered: missing}
}

// subscriptionPart is a part of a page. For a query about one client, Here says whether the client is connected to the node.
type subscriptionPart struct {
	part[admin.Subscription]
	Here bool `json:"here,omitempty"`
}

func (p subscriptionPart) raw() (any, error) {
	raw, err := p.part.raw()
	return struct {
		rawPart
		Here bool `json:"here,omitempty"`
	}{raw, p.Here}, err
}

// subscriptionsHere lists the subscriptions of clients connected to this node.
func (b *backend) subscriptionsHere(q admin.SubscriptionQuery) subscriptionPart {
	found := &firstOf[admin.Subscription]{n: q.Limit, key: subscriptionKey}
	list, here := b.g.sessions.SubscriptionsOf(q.ClientID)
	if q.ClientID == "" {
		list = b.g.sessions.Subscriptions()
	}
	for _, s := range list {
		addSubscription(found, q, admin.Subscription(s))
	}
	return subscriptionPart{found.part(), here}
}

// recordedSubscriptions lists the subscriptions of a session whose client is away.
func (b *backend) recordedSubscriptions(ctx context.Context, q admin.SubscriptionQuery, missing []admin.Unanswered,
) (admin.List[admin.Subscription], error) {
	rec, err := b.g.meta.LoadSession(ctx, q.ClientID)
	if err == nil && rec == nil {
		err = cmp.Or(unasked(q.ClientID, missing), noClient(q.ClientID))
	}
	if err != nil {
		return admin.List[admin.Subscription]{}, err
	}
	found := &firstOf[admin.Subscription]{n: q.Limit, key: subscriptionKey}
	for _, sub := range rec.Subscriptions {
		group, _, _, _ := topic.ParseShared(sub.Filter)
		addSubscription(found, q, admin.Subscription{ClientID: rec.ClientID, Filter: sub.Filter, QoS: sub.QoS, ShareGroup: group})
	}
	p := found.part()
	return admin.List[admin.Subscription]{Items: p.Items, Next: p.Next, Unanswered: missing}, nil
}

func addSubscription(found *firstOf[admin.Subscription], q admin.SubscriptionQuery, s admin.Subscription) {
	_, inner, shared, _ := topic.ParseShared(s.Filter)
	if !shared {
		inner = s.Filter
	}
	if subscriptionKey(s) > q.After && (q.Matching == "" || topic.Match(inner, q.Matching)) && (q.Filter == "" || s.Filter == q.Filter) {
		found.add(s)
	}
}

// subscriptionKey identifies and orders subscriptions. Neither client ids nor filters contain U+0000 [MQTT-1.5.4-2].
func subscriptionKey(s admin.Subscription) string { return s.ClientID + "\x00" + s.Filter }
