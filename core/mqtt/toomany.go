package mqtt

import (
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
)

// full refuses an authenticated client because the node, its identity or its address has too many connections.
func (c *conn) full(by *tooMany) error {
	c.srv.metrics.tooMany.WithLabelValues(by.bound).Inc()
	switch by.bound {
	case boundIdentity:
		c.tellIdentityFull("limits.identity.connections", by)
		return c.overQuota("the user has too many connections")
	case boundShare:
		c.tellIdentityFull("limits.identity.share", by)
		return c.overQuota("the user has too many of the server's connections")
	case boundAddress:
		c.srv.repeat.Warn("address "+by.network.String(),
			"clients are refused: their address has too many connections; see limits.address.connections",
			"address", by.network.String(), "connections", by.has, "limit", by.limit, "client", c.clientID, "remote", c.remote)
		return c.overQuota("the address has too many connections")
	}
	c.log.Warn("connection refused: mqtt.max_connections is reached", "client", c.clientID, "remote", c.remote, "limit", by.limit)
	const cause = "too many connections"
	if c.version != packet.V5 {
		return c.refuse(packet.ServerUnavailable, cause)
	}
	if reference := c.srv.o.ServerReference; reference != "" {
		elsewhere := &packet.Properties{ServerReference: &reference}
		return c.refuseWith(&packet.Connack{Code: packet.UseAnotherServer, Properties: elsewhere}, cause)
	}
	return c.refuse(packet.ServerBusy, cause)
}

// tellIdentityFull logs that an identity has reached a bound of its connections.
func (c *conn) tellIdentityFull(key string, by *tooMany) {
	c.srv.repeat.Warn("identity "+c.seat.identity,
		"clients are refused: their identity has too many connections; see key in the configuration", "key", key,
		"identity", c.principal.Name(), "user", auth.Shown(c.principal.Username()), "connections", by.has, "limit", by.limit,
		"client", c.clientID, "remote", c.remote)
}

// overQuota refuses a client with Quota exceeded, of MQTT 3.1.1 with Server unavailable.
func (c *conn) overQuota(cause string) error { return c.refuse(packet.QuotaExceeded, cause) }

// Fill returns how many connections the node has, and how many it may have: admitted clients and mqtt.max_connections, or all connections
// and what the limit of open files allows (Bounds.Files), whichever is used more. most is 0 if there is neither bound.
func (s *Server) Fill() (used, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.slots.bounds
	if b.MaxConnections > 0 {
		used, most = len(s.slots.of), b.MaxConnections
	}
	if open := len(s.conns); b.Files > 0 && (most == 0 || int64(open)*int64(most) > int64(used)*int64(b.Files)) {
		used, most = open, b.Files
	}
	return used, most
}

func (s *Server) fillRatio() float64 {
	used, most := s.Fill()
	if most == 0 {
		return 0
	}
	return float64(used) / float64(most)
}
