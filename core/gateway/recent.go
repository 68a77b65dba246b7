package gateway

import (
	"context"
	"slices"

	"github.com/lmqgate/lmqgate/core/admin"
)

// Recent lists the latest refusals and disconnections of the cluster, newest first.
func (b *backend) Recent(ctx context.Context, q admin.RecentQuery) ([]admin.Event, []admin.Unanswered) {
	events := b.recentHere(q)
	answers, missing := ask[[]admin.Event](ctx, b.g.cluster, askRecent, q)
	for _, a := range answers {
		events = append(events, a.what...)
	}
	slices.SortStableFunc(events, func(a, b admin.Event) int { return b.Time.Compare(a.Time) })
	return events, missing
}

// recentHere lists those of this node.
func (b *backend) recentHere(q admin.RecentQuery) []admin.Event {
	var out []admin.Event
	for _, e := range b.g.mqtt.Recent() {
		if (q.ClientID == "" || q.ClientID == e.ClientID) && (q.Username == "" || q.Username == e.Username) &&
			(q.Kind == "" || q.Kind == e.Kind) {
			out = append(out, admin.Event{Time: e.Time, Node: b.g.id, Kind: e.Kind, ClientID: e.ClientID, Username: e.Username,
				RemoteAddress: e.RemoteAddr, Packet: e.Packet, Topic: e.Topic, Reason: e.Reason, Cause: e.Cause})
		}
	}
	return out
}
