package gateway

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/session"
)

// maxConsumers is how many of the largest consumers of a bound are named.
const maxConsumers = 5

// seenBound says which metrics count the use of a bound and how often it had an effect. Metrics are named as in sums.
type seenBound struct {
	key, what, unit string
	use             string // empty: the bound applies to each client or address, not to the node. "fill NAME": the meta.Fill of that name
	limit           func(c *config.Config, m map[string]float64) float64
	effects         []string
	consumers       func(b *backend) []admin.Consumer
}

// told returns the value of a metric as a limit.
func told(metric string) func(*config.Config, map[string]float64) float64 {
	return func(_ *config.Config, m map[string]float64) float64 { return m[metric] }
}

// fill begins the use of a bound that the metadata, or the sessions, tell themselves.
const fill = "fill "

// fills are these bounds, by name; see meta.Fill.
func (g *Gateway) fills() []meta.Fill {
	out := g.meta.Fills()
	if used, limit := g.mqtt.Fill(); limit > 0 {
		out = append(out, meta.Fill{Resource: "connections", Used: int64(used), Max: int64(limit)})
	}
	if used, limit := g.sessions.SubscriptionMemory(); limit > 0 {
		out = append(out, meta.Fill{Resource: "subscription_memory", Used: used, Max: limit})
	}
	return out
}

const (
	turnedAway           = "lmqgate_mqtt_turned_away_connections_total"
	refusedSubscriptions = "lmqgate_sessions_refused_subscriptions_total"
)

// seenBounds lists the bounds that are shown to operators. To add one, add an entry here, and a metric for its effect.
func (g *Gateway) seenBounds() []seenBound {
	key := func(n func(c *config.Config) int) func(*config.Config, map[string]float64) float64 {
		return func(c *config.Config, _ map[string]float64) float64 { return float64(n(c)) }
	}
	whole := func(n func() int64) func(*config.Config, map[string]float64) float64 {
		return func(*config.Config, map[string]float64) float64 { return float64(n()) }
	}
	away := func(bound string) []string { return []string{turnedAway + "{" + bound + "}"} }
	const (
		count, bytes, rate = "count", "bytes", "per second"
		refused, stalled   = "lmqgate_mqtt_refused_clients_total", "lmqgate_mqtt_stalled_connections_total"
	)
	full := func(resource string) []string {
		return []string{"lmqgate_meta_quota_refused_total{" + resource + ",the cluster}"}
	}
	share := func(whose string) []string { return []string{"lmqgate_meta_quota_refused_total{" + whose + "}"} }
	seen := []seenBound{
		{"mqtt.max_connections", "Clients that are connected.", count, "lmqgate_sessions_connected",
			key(func(c *config.Config) int { return c.MQTT.MaxConnections }),
			[]string{refused + "{node}"}, addresses},
		{"limits.identity.connections", "Clients of one identity that are connected.", count, "",
			key(func(c *config.Config) int { return c.Limits.Identity.Connections }), []string{refused + "{identity}"}, nil},
		{"limits.address.connections", "Clients of one address that are connected.", count, "",
			key(func(c *config.Config) int { return c.Limits.Address.Connections }), []string{refused + "{address}"}, addresses},
		{"limits.node.unauthenticated", "Connections whose client is not admitted yet.", count, "lmqgate_mqtt_unadmitted_connections",
			key(func(c *config.Config) int { return c.Limits.Node.Unauthenticated }), away("node"), nil},
		{"limits.listener.unauthenticated", "The same, of one listener.", count, "",
			key(func(c *config.Config) int { return c.Limits.Listener.Unauthenticated }), away("listener"), nil},
		{"limits.address.unauthenticated", "The same, of one address.", count, "",
			key(func(c *config.Config) int { return c.Limits.Address.Unauthenticated }), away("address"), nil},
		{"limits.address.connect_rate", "Connections that one address opens.", rate, "",
			key(func(c *config.Config) int { return c.Limits.Address.ConnectRate }), away("rate"), nil},
		{"limits.node.memory", "Memory of the process.", bytes, "process_resident_memory_bytes",
			told("lmqgate_memory_limit_bytes"), nil, nil},
		{"limits.node.inbound_memory", "Messages on their way into the store.", bytes, "lmqgate_mqtt_inbound_memory_bytes",
			whole(g.memory.inbound.Whole), []string{"lmqgate_mqtt_unread_waits_total", stalled + "{inbound}"}, nil},
		{"limits.node.outbound_memory", "What is on its way to clients.", bytes, "lmqgate_mqtt_outbound_memory_bytes",
			whole(g.memory.outbound.Whole), []string{"lmqgate_mqtt_unsent_waits_total", stalled + "{outbound}"}, nil},
		{"limits.client.outbound_memory", "What clients have not acknowledged and is kept to be sent again, of all.", bytes,
			"lmqgate_sessions_kept_memory_bytes", whole(g.memory.kept.Whole), []string{"lmqgate_sessions_given_up_total"}, unacknowledged},
		{"limits.node.retained_memory", "Retained messages.", bytes, "lmqgate_meta_retained_bytes",
			told("lmqgate_meta_retained_limit_bytes"), []string{"lmqgate_meta_retained_refused_total"}, nil},
		{"limits.client.inbound_memory", "Messages of one client on their way into the store.", bytes, "",
			key(func(c *config.Config) int { return int(c.Limits.Client.InboundMemory) }),
			[]string{"lmqgate_mqtt_unread_waits_total"}, nil},
		{"limits.*.*_rate", "Rates of a client, an identity, an address, a listener and the node.", rate, "", nil,
			[]string{"lmqgate_mqtt_slowed_total"}, nil},
		{"limits.client.subscriptions", "Subscriptions of one client.", count, "",
			key(func(c *config.Config) int { return c.Limits.Client.Subscriptions }),
			[]string{refusedSubscriptions + "{client}"}, subscribers},
		{"limits.node.subscription_memory", "Subscriptions of the node's clients, large wills, long names and topic aliases.", bytes, fill + "subscription_memory", nil,
			[]string{refusedSubscriptions + "{memory}"}, subscribers},
		{"limits.cluster.sessions", "Sessions that outlive their connections, of the cluster.", count, fill + "sessions", nil,
			full("sessions"), nil},
		{"limits.cluster.filters", "Filters of such sessions, and shared groups.", count, fill + "filters", nil,
			full("filters"), firstLevels},
		{"limits.cluster.retained_messages", "Topics with a retained message.", count, fill + "retained_messages", nil,
			full("retained messages"), nil},
		{"limits.cluster.topics", "First-level topics, of which clients make no more.", count, fill + "topics", nil,
			full("first-level topics"), nil},
		{"limits.client.share", "What one client has of the metadata, in percent.", count, "",
			key(func(c *config.Config) int { return c.Limits.Client.Share }), share("the client"), nil},
		{"limits.identity.share", "What the clients of one identity have, in percent.", count, "",
			key(func(c *config.Config) int { return c.Limits.Identity.Share }), append(share("the identity"), refused+"{share}"), nil},
		{"limits.node.filter_memory", "Filters of sessions that outlive their connections.", bytes, fill + "filter_memory", nil, nil, firstLevels},
		{"metadata keys", "Keys that the metadata backend takes, without the reserve (limits.cluster.reserve).", count,
			fill + "keys", nil, nil, nil},
		{"metadata bytes", "Bytes that the metadata backend takes, without the reserve.", bytes, fill + "bytes", nil, nil, nil},
		{"topics.max_filters", "Filters with a queue, of the first-level topic that has the most.", count, "most filters",
			key(func(c *config.Config) int { return c.Topics.MaxFilters }), nil, firstLevels},
		{"open files", "Descriptors of the process, of which a connection takes one.", count, "process_open_fds",
			told("process_max_fds"), away("descriptors"), nil},
		{"bans", "Addresses, users and clients that are kept out.", count, "lmqgate_mqtt_bans", nil, away("ban"), nil},
		{"re-authentications", "Re-authentications that one connection begins within a minute.", count, "", whole(func() int64 { return mqtt.MaxAgain }),
			[]string{"lmqgate_mqtt_refused_reauthentications_total"}, nil},
		{"logins", "Logins that wait for the auth plugin.", count, "lmqgate_auth_logins_waiting", nil, nil, nil},
	}
	if g.events.On() {
		seen = append(seen, seenBound{"events", "Events that wait to be stored.", count, "lmqgate_events_waiting",
			whole(func() int64 { return events.MostWaiting }), []string{"lmqgate_events_left_out_total"}, nil})
	}
	return seen
}

// Limits returns how much of each bound of this node is used, and how often it had an effect.
func (b *backend) Limits(context.Context) []admin.Bound {
	m := sums(b.g.registry)
	c := b.g.reloads.present()
	fills := b.g.fills()
	seen := b.g.seenBounds()
	out := make([]admin.Bound, 0, len(seen))
	for _, s := range seen {
		made := admin.Bound{Key: s.key, What: s.what, Unit: s.unit}
		if s.consumers != nil {
			made.Consumers = s.consumers(b)
		}
		if s.limit != nil {
			made.Limit = s.limit(c, m)
		}
		if name, filled := strings.CutPrefix(s.use, fill); filled {
			i := slices.IndexFunc(fills, func(f meta.Fill) bool { return f.Resource == name })
			if i < 0 {
				continue // there is no such bound here
			}
			used := float64(fills[i].Used)
			made.Use, made.Limit = &used, float64(fills[i].Max)
		}
		switch use, counted := m[s.use]; {
		case counted:
			made.Use = &use
		case s.use == "most filters":
			most := 0.0
			if len(made.Consumers) > 0 {
				most = made.Consumers[0].Use
			}
			made.Use = &most
		}
		for _, metric := range s.effects {
			made.Effects += m[metric]
		}
		out = append(out, made)
	}
	return out
}

// largest returns the largest consumers, largest first.
func largest(of map[string]float64) []admin.Consumer {
	out := make([]admin.Consumer, 0, len(of))
	for name, use := range of {
		out = append(out, admin.Consumer{Name: name, Use: use})
	}
	slices.SortFunc(out, func(a, b admin.Consumer) int { return cmp.Or(cmp.Compare(b.Use, a.Use), cmp.Compare(a.Name, b.Name)) })
	return out[:min(len(out), maxConsumers)]
}

// addresses returns the addresses with the most clients.
func addresses(b *backend) []admin.Consumer {
	of := make(map[string]float64)
	for _, c := range b.g.sessions.Clients() {
		host, _, err := net.SplitHostPort(c.RemoteAddr)
		if err != nil {
			host = c.RemoteAddr
		}
		of[host]++
	}
	return largest(of)
}

// unacknowledged returns the clients with the most unacknowledged messages.
func unacknowledged(b *backend) []admin.Consumer {
	return clientsBy(b, func(c *session.Client) int { return c.InFlight })
}

// subscribers returns the clients with the most subscriptions.
func subscribers(b *backend) []admin.Consumer {
	return clientsBy(b, func(c *session.Client) int { return c.Subscriptions })
}

// clientsBy returns the clients with the most of something.
func clientsBy(b *backend, count func(*session.Client) int) []admin.Consumer {
	of := make(map[string]float64)
	for _, c := range b.g.sessions.Clients() {
		if n := count(&c); n > 0 {
			of[c.ClientID] = float64(n)
		}
	}
	return largest(of)
}

// firstLevels returns the first-level topics with the most filters.
func firstLevels(b *backend) []admin.Consumer {
	of := make(map[string]float64)
	for _, name := range b.g.meta.Topics() {
		if n := b.g.meta.FilterCount(name); n > 0 {
			of[name] = float64(n)
		}
	}
	return largest(of)
}
