package gateway

import (
	"log/slog"
	"math"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt"
)

// isLive reports whether a reload can apply a changed key while the gateway runs, without a plugin.
func isLive(key string) bool {
	return strings.HasPrefix(key, "limits.") ||
		slices.Contains([]string{"log.level", "mqtt.max_connections", "tracing.ratio", "tracing.span_rate"}, key)
}

// applyLive applies the keys that need neither a plugin nor a restart, and returns those that have changed.
func (g *Gateway) applyLive(applied, next *config.Config) []string {
	keys := slices.DeleteFunc(config.Differences(applied, next), func(key string) bool { return !isLive(key) })
	var level slog.Level
	_ = level.UnmarshalText([]byte(next.Log.Level)) // the configuration is valid
	if g.logLevel.Level() != level {                // an operator may have set another level
		g.logLevel.Set(level)
		if !slices.Contains(keys, "log.level") {
			keys = append(keys, "log.level")
		}
	}
	g.mqtt.SetBounds(bounds(next))
	g.applySpans(next.Tracing)
	g.sessions.SetMaxKept(int64(next.Limits.Client.OutboundMemory))
	if applied.Limits.Node != next.Limits.Node {
		g.memory.set(limits.SetMemory(int64(next.Limits.Node.Memory)), next.Limits.Node)
		g.meta.SetRetainedMemory(g.memory.retained)
	}
	g.meta.SetQuotas(g.quotas(next))
	g.sessions.SetSubscriptions(next.Limits.Client.Subscriptions, g.memory.subscriptions, next.Limits.Identity.Share)
	g.reloads.apply(func(c *config.Config) {
		c.Log.Level, c.MQTT.MaxConnections, c.Limits = next.Log.Level, next.MQTT.MaxConnections, next.Limits
		c.Tracing.Ratio, c.Tracing.SpanRate = next.Tracing.Ratio, next.Tracing.SpanRate
	})
	return keys
}

// bounds returns the bounds of the MQTT side from a configuration.
func bounds(c *config.Config) mqtt.Bounds {
	client, identity, address, listener, node := c.Limits.Client, c.Limits.Identity, c.Limits.Address, c.Limits.Listener, c.Limits.Node
	return mqtt.Bounds{MaxConnections: c.MQTT.MaxConnections, IdentityConnections: identity.Connections, IdentityShare: identity.Share,
		AddressConnections: address.Connections, Files: limits.ConnectionsOf(limits.OpenFiles()), MaxPending: c.Limits.Node.Unauthenticated,
		MaxPendingOfListener: c.Limits.Listener.Unauthenticated, MaxPendingOfAddress: address.Unauthenticated,
		BoundLoopback: address.Loopback, ConnectMemory: int64(c.Limits.Node.ConnectMemory), ClientInbound: int64(client.InboundMemory),
		Client: rates(client.ConnectRate, client.MessageRate, client.SubscribeRate, client.ByteRate, client.OutboundByteRate),
		Identity: rates(identity.ConnectRate, identity.MessageRate, identity.SubscribeRate, identity.ByteRate,
			identity.OutboundByteRate),
		Address: rates(address.ConnectRate, address.MessageRate, address.SubscribeRate, address.ByteRate, address.OutboundByteRate),
		Listener: rates(listener.ConnectRate, listener.MessageRate, listener.SubscribeRate, listener.ByteRate,
			listener.OutboundByteRate),
		Node:         rates(node.ConnectRate, node.MessageRate, node.SubscribeRate, node.ByteRate, node.OutboundByteRate),
		FailedLogins: address.FailedLogins, Flaps: client.Flaps}
}

func rates(connects, messages, filters int, bytes, outbound config.Size) mqtt.Rates {
	return mqtt.Rates{Connects: limits.Rate(connects), Messages: limits.Rate(messages), Bytes: limits.Rate(bytes),
		Filters: limits.Rate(filters), Outbound: limits.Rate(outbound)}
}

// quotas returns the quotas of the metadata from a configuration.
func (g *Gateway) quotas(c *config.Config) meta.Quotas {
	of := c.Limits.Cluster
	return meta.Quotas{Sessions: of.Sessions, Filters: of.Filters, Retained: of.RetainedMessages, Topics: of.Topics,
		FilterMemory: g.memory.filters, IdentityShare: c.Limits.Identity.Share, ClientShare: c.Limits.Client.Share, Reserve: of.Reserve}
}

// set changes the limit and divides it again. The windows of delivery keep their bound.
func (m *memory) set(limit int64, c config.NodeLimits) {
	m.watermark.SetLimit(limit)
	s := sharesOf(limit, c)
	m.inbound.SetWhole(s.inbound)
	m.outbound.SetWhole(s.outbound)
	m.kept.SetWhole(s.outbound)
	m.retained, m.filters, m.subscriptions = s.retained, s.filters, s.subscriptions
}

// shares are parts of a memory limit, in bytes.
type shares struct{ inbound, outbound, retained, filters, subscriptions int64 }

func sharesOf(limit int64, c config.NodeLimits) shares {
	share := func(asked config.Size, part int64) int64 {
		if asked > 0 {
			return int64(asked)
		}
		return min(max(limit/part, leastShare), mostShare)
	}
	return shares{inbound: share(c.InboundMemory, 8), outbound: share(c.OutboundMemory, 16), retained: share(c.RetainedMemory, 8),
		filters: share(c.FilterMemory, 8), subscriptions: share(c.SubscriptionMemory, 8)}
}

// shownLimit formats a limit for the log.
func shownLimit(limit int64) string {
	if limit == math.MaxInt64 {
		return "none"
	}
	return mib(limit)
}
