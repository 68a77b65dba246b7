package mqtt

import (
	"net/netip"

	"github.com/lmqgate/lmqgate/core/limits"
)

// slots counts admitted clients against mqtt.max_connections, and against the bounds of their identities and addresses. A client id has one
// slot, which its connections share: the one that is attached to the session, those that want to take it over, and those that were taken
// over and are not closed yet. The slot is free once all of them have left, whoever of them gets the session. So a client gets in by
// replacing its own connection even if no slot is free, and one that is refused takes nothing from the one that it wanted to replace.
//
// Slots are taken after authentication, so a stranger neither holds one nor learns from the answer whether a client is connected.
//
// Its methods are called with Server.mu held.
type slots struct {
	bounds *Bounds
	of     map[string]*conn // a connection of each client id; seat.next leads to the others
	// identities and networks count the slots in which an identity, or an address or a network around it, has a connection.
	identities map[string]int
	networks   map[netip.Prefix]int
}

// seat is a connection's part in the slot of its client id.
type seat struct {
	taken bool
	next  *conn // another connection in the slot
	// identity is meta.Owner.Mark; empty: no bound of an identity applies. source is invalid if no bound of an address applies.
	identity string
	source   netip.Prefix
}

// Values of tooMany.bound.
const (
	boundNode     = "node"     // mqtt.max_connections
	boundIdentity = "identity" // limits.identity.connections
	boundShare    = "share"    // limits.identity.share of mqtt.max_connections
	boundAddress  = "address"  // limits.address.connections
)

// tooMany says which bound has no room for a client.
type tooMany struct {
	bound      string
	has, limit int          // slots
	network    netip.Prefix // for boundAddress: the address, or the network around it, that has them
}

// take gives a connection a part in the slot of its client id, or a free slot. If a bound is reached, it returns that. A client that
// replaces a connection of its own identity is within every bound.
func (s *slots) take(c *conn) *tooMany {
	first := s.of[c.clientID]
	own := func(o *conn) bool { return o.seat.identity == c.seat.identity }
	if !first.seated(own) {
		if full := s.reached(&c.seat, first == nil); full != nil {
			return full
		}
	}
	s.join(c)
	return nil
}

// join puts a connection into the slot of its client id.
func (s *slots) join(c *conn) {
	others := s.of[c.clientID]
	s.count(c, others, 1)
	if s.of == nil {
		s.of = make(map[string]*conn)
	}
	c.seat.taken, c.seat.next = true, others
	s.of[c.clientID] = c
}

// leave takes a connection out of its slot, if it has one.
func (s *slots) leave(c *conn) {
	if !c.seat.taken {
		return
	}
	first := s.of[c.clientID]
	if first == c {
		first = c.seat.next
	} else {
		for o := first; o != nil; o = o.seat.next {
			if o.seat.next == c {
				o.seat.next = c.seat.next
				break
			}
		}
	}
	c.seat.taken, c.seat.next = false, nil
	if first == nil {
		delete(s.of, c.clientID)
	} else {
		s.of[c.clientID] = first
	}
	s.count(c, first, -1)
}

// rename counts a connection for the identity that it has authenticated as anew, whatever the bounds.
func (s *slots) rename(c *conn, identity string) {
	taken := c.seat.taken
	s.leave(c)
	c.seat.identity = identity
	if taken {
		s.join(c)
	}
}

// reached returns the bound that has no room for one more slot; nil: there is room. fresh says that the client id has no slot yet.
func (s *slots) reached(of *seat, fresh bool) *tooMany {
	b := s.bounds
	all := len(s.of)
	if fresh && b.MaxConnections > 0 && all >= b.MaxConnections {
		return &tooMany{bound: boundNode, has: all, limit: b.MaxConnections}
	}
	if of.identity != "" {
		has := s.identities[of.identity]
		if limit := b.IdentityConnections; limit > 0 && has >= limit {
			return &tooMany{bound: boundIdentity, has: has, limit: limit}
		}
		if share, from := b.shareOfIdentity(); share > 0 && all >= from && has >= share {
			return &tooMany{bound: boundShare, has: has, limit: share}
		}
	}
	if b.AddressConnections > 0 {
		for _, n := range limits.NetworksOf(of.source) {
			if has, limit := s.networks[n.Prefix], n.Share*b.AddressConnections; has >= limit {
				return &tooMany{bound: boundAddress, has: has, limit: limit, network: n.Prefix}
			}
		}
	}
	return nil
}

// count adds n to the slots of a connection's identity and address, each unless one of the others in the slot counts for it.
func (s *slots) count(c, others *conn, n int) {
	of := &c.seat
	if of.identity != "" && !others.seated(func(o *conn) bool { return o.seat.identity == of.identity }) {
		s.identities = tally(s.identities, of.identity, n)
	}
	for _, network := range limits.NetworksOf(of.source) {
		if !others.seated(func(o *conn) bool { return within(o.seat.source, network.Prefix) }) {
			s.networks = tally(s.networks, network.Prefix, n)
		}
	}
}

// tally adds n to a count, and forgets the count when it is 0.
func tally[K comparable](counts map[K]int, of K, n int) map[K]int {
	if counts == nil {
		counts = make(map[K]int)
	}
	if counts[of] += n; counts[of] == 0 {
		delete(counts, of)
	}
	return counts
}

// seated reports whether a connection, or one that follows it in its slot, is as asked; nil has none.
func (c *conn) seated(as func(*conn) bool) bool {
	for ; c != nil; c = c.seat.next {
		if as(c) {
			return true
		}
	}
	return false
}
