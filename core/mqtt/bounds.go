package mqtt

import "cmp"

// Bounds are the limits of a server that can be changed while it runs; see Server.SetBounds.
type Bounds struct {
	// MaxConnections bounds the admitted clients; 0: no limit. Clients over a lowered limit stay.
	MaxConnections int
	// MaxPending bounds the connections whose client is not admitted yet, MaxPendingOfListener those of one listener, and
	// MaxPendingOfAddress those of one address (of IPv6: of one network of 64 bits). 0: 2048, or twice MaxConnections where that is less
	// (64 at the least); half of it; an eighth. Addresses of loopback have the last bound only with BoundLoopback.
	MaxPending, MaxPendingOfListener, MaxPendingOfAddress int
	BoundLoopback                                         bool
	// ConnectMemory bounds the memory of CONNECT packets over 16 KiB whose clients are not admitted yet, in bytes; 0: 16 MiB.
	ConnectMemory int64
	// ClientInbound is the memory that one client has for messages on their way into the store, in bytes; 0: 4 MiB.
	ClientInbound int64
	// Client, Identity, Address, Listener and Node are the rates of each of them. Address.Connects is looked at before anything is read
	// of a connection, which is closed where it is over; Listener.Connects and Node.Connects hold back accepting.
	Client, Identity, Address, Listener, Node Rates
	// FailedLogins are how many logins of an address may fail within five minutes before it is banned; 0: as many as there are, without
	// delay.
	FailedLogins int
	// Flaps are how many connections of a client may end within ten seconds of their beginning, within five minutes, before it is
	// banned; 0: as many as there are.
	Flaps int
}

// SetBounds changes the bounds, also for the connections that there are.
func (s *Server) SetBounds(b Bounds) {
	b.ClientInbound = cmp.Or(b.ClientInbound, clientInbound)
	s.pending.set(b)
	s.connect.set(b.ConnectMemory)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds.Store(&b)
	rejoin := s.rates.set(b.rates())
	s.slots.limit = b.MaxConnections
	for c := range s.conns {
		c.inflow.account.SetBound(b.ClientInbound)
		if rejoin && c.admitted.Load() != nil {
			s.rejoin(c)
		}
	}
}

// rates are the rates of each scope. Those of addresses for connecting are looked at elsewhere.
func (b Bounds) rates() [scopes]Rates {
	out := [scopes]Rates{ofClient: b.Client, ofIdentity: b.Identity, ofAddress: b.Address, ofListener: b.Listener, ofNode: b.Node}
	out[ofAddress].Connects = 0
	return out
}
