package mqtt

import "cmp"

// Bounds are the limits of a server that can change while it runs; see Server.SetBounds.
type Bounds struct {
	// MaxConnections bounds the admitted clients; 0: no limit. Clients above a lowered limit stay.
	MaxConnections int
	// IdentityConnections bounds the admitted clients of one identity; 0: no limit.
	IdentityConnections int
	// IdentityShare is the percentage of MaxConnections up to which an identity may use the last tenth of them, 1 to 100; 0: 100.
	IdentityShare int
	// AddressConnections bounds the admitted clients of one address (IPv6: one /64 network); 0: no limit. A /56 network may have four times
	// as many, a /48 network sixteen times. It applies to loopback addresses only with BoundLoopback.
	AddressConnections int
	// Files is how many client connections the limit of open files allows; 0: unknown. It refuses nobody; see Server.Fill.
	Files int
	// MaxPending bounds the connections whose client is not admitted yet; 0: 2048, or twice MaxConnections if that is less, but at least
	// 64. MaxPendingOfListener bounds those of one listener; 0: half of MaxPending. MaxPendingOfAddress bounds those of one address (IPv6:
	// one /64 network); 0: an eighth of MaxPending. A /56 network may have four times as many, a /48 network sixteen times, but no more
	// than half and three quarters of those of a listener. It applies to loopback addresses only with BoundLoopback.
	MaxPending, MaxPendingOfListener, MaxPendingOfAddress int
	BoundLoopback                                         bool
	// ConnectMemory bounds the memory for CONNECT packets over 16 KiB whose clients are not admitted yet, in bytes; 0: 16 MiB.
	ConnectMemory int64
	// ClientInbound bounds the memory for one client's messages on their way into the store, in bytes; 0: 4 MiB.
	ClientInbound int64
	// Client, Identity, Address, Listener and Node are the rate limits of each scope. Address.Connects is checked before anything is read
	// from a connection; a connection over it is closed. Listener.Connects and Node.Connects delay accepting connections.
	Client, Identity, Address, Listener, Node Rates
	// FailedLogins is how many logins from an address may fail within five minutes before the address is banned; 0: no bound, and no delays
	// after failed logins.
	FailedLogins int
	// Flaps is how many connections of a client may end within ten seconds of their start, in any five minutes, before the client is
	// banned; 0: no bound.
	Flaps int
}

// SetBounds changes the bounds, also for existing connections.
func (s *Server) SetBounds(b Bounds) {
	b.ClientInbound = cmp.Or(b.ClientInbound, clientInbound)
	s.pending.set(b)
	s.connect.set(b.ConnectMemory)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds.Store(&b)
	rejoin := s.rates.set(b.rates())
	s.slots.bounds = &b
	for c := range s.conns {
		c.inflow.account.SetBound(b.ClientInbound)
		if rejoin && c.admitted.Load() != nil {
			s.rejoin(c)
		}
	}
}

// shareOfIdentity returns how many connections an identity may have once the node has from of them; share 0: there is no such bound. The
// last tenth of the node's connections, rounded up, is for identities that have less than their share.
func (b *Bounds) shareOfIdentity() (share, from int) {
	if b.MaxConnections <= 0 || b.IdentityShare <= 0 || b.IdentityShare >= 100 {
		return 0, 0
	}
	const last = 10 // a tenth
	share = max(1, int(int64(b.MaxConnections)*int64(b.IdentityShare)/100))
	return share, b.MaxConnections - (b.MaxConnections+last-1)/last
}

// rates returns the rate limits by scope. Address.Connects is left out: pending checks it.
func (b Bounds) rates() [scopes]Rates {
	out := [scopes]Rates{ofClient: b.Client, ofIdentity: b.Identity, ofAddress: b.Address, ofListener: b.Listener, ofNode: b.Node}
	out[ofAddress].Connects = 0
	return out
}
