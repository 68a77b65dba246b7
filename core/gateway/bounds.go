package gateway

import (
	"cmp"
	"context"
	"net"
	"slices"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/config"
)

// maxConsumers is how many of the largest consumers of a bound are named.
const maxConsumers = 5

// seenBound says which metrics count the use of a bound and how often it had an effect. Metrics are named as in sums.
type seenBound struct {
	key, what, unit string
	use             string // empty: the bound applies to each client or address, not to the node
	limit           func(c *config.Config, m map[string]float64) float64
	effects         []string
	consumers       func(b *backend) []admin.Consumer
}

// told returns the value of a metric as a limit.
func told(metric string) func(*config.Config, map[string]float64) float64 {
	return func(_ *config.Config, m map[string]float64) float64 { return m[metric] }
}

const turnedAway = "lmqgate_mqtt_turned_away_connections_total"

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
		refused, stalled   = "lmqgate_mqtt_refused_connects_total", "lmqgate_mqtt_stalled_connections_total"
	)
	return []seenBound{
		{"mqtt.max_connections", "Clients that are connected.", count, "lmqgate_sessions_connected",
			key(func(c *config.Config) int { return c.MQTT.MaxConnections }),
			[]string{refused + "{server busy}", refused + "{use another server}"}, addresses},
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
		{"limits.client.*_rate", "Rates of one client.", rate, "", nil, []string{"lmqgate_mqtt_slowed_total"}, nil},
		{"topics.max_filters", "Filters with a queue, of the first-level topic that has the most.", count, "most filters",
			key(func(c *config.Config) int { return c.Topics.MaxFilters }), nil, firstLevels},
		{"open files", "Descriptors of the process, of which a connection takes one.", count, "process_open_fds",
			told("process_max_fds"), away("descriptors"), nil},
		{"bans", "Addresses, users and clients that are kept out.", count, "lmqgate_mqtt_bans", nil, away("ban"), nil},
		{"logins", "Logins that wait for the auth plugin.", count, "lmqgate_auth_logins_waiting", nil, nil, nil},
	}
}

// Limits returns how much of each bound of this node is used, and how often it had an effect.
func (b *backend) Limits(context.Context) []admin.Bound {
	m := sums(b.g.registry)
	c := b.g.reloads.present()
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
	of := make(map[string]float64)
	for _, c := range b.g.sessions.Clients() {
		if c.InFlight > 0 {
			of[c.ClientID] = float64(c.InFlight)
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
