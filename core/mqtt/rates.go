package mqtt

import (
	"strconv"
	"sync"

	"github.com/lmqgate/lmqgate/core/limits"
)

// Rates are the rate limits of one party, per second; 0: no limit. While a party is over a limit, its clients are not read, not sent to, or
// not admitted. They wait, and are refused only if the wait would be too long.
type Rates struct {
	// Connects counts connections; for clients and identities it counts authenticated ones.
	Connects limits.Rate
	// Messages and Bytes count the PUBLISH packets from clients and their bytes. Filters counts the filters to which clients subscribe.
	Messages, Bytes, Filters limits.Rate
	// Outbound counts the bytes of messages to clients, including messages that they missed while they were away.
	Outbound limits.Rate
}

// scope is the kind of party that a rate applies to. A connection is subject to the rates of every scope.
type scope int

const (
	ofClient scope = iota
	ofIdentity
	ofAddress
	ofListener
	ofNode
	scopes
)

// party is someone subject to rates, with any number of connections.
type party struct {
	scope scope

	connects, messages, bytes, filters, outbound *limits.Bucket

	// conns counts the connections that belong to the party; guarded by rateTable.mu.
	conns int
}

func newParty(of scope, r Rates) *party {
	return &party{scope: of, connects: limits.NewBucket(r.Connects), messages: limits.NewBucket(r.Messages),
		bytes: limits.NewBucket(r.Bytes), filters: limits.NewBucket(r.Filters), outbound: limits.NewBucket(r.Outbound)}
}

// rested reports whether all the party's buckets are full again, so that a new party would be the same.
func (p *party) rested() bool {
	return p.connects.Full() && p.messages.Full() && p.bytes.Full() && p.filters.Full() && p.outbound.Full()
}

// partyKey identifies a party.
type partyKey struct {
	scope scope
	name  string
}

// rateTable holds the parties that are subject to rates. A party without connections is remembered until it has rested, so that
// reconnecting does not reset its limits.
type rateTable struct {
	mu sync.Mutex
	// of holds the rates of each scope. The zero Rates: parties of that scope have no limits.
	of      [scopes]Rates
	parties map[partyKey]*party
	sweepAt int // number of parties at which rested ones are removed
}

// leastSweep is the number of parties below which none is removed.
const leastSweep = 4096

// set changes the rates. Parties of scopes whose rates change start afresh; connections must join again.
func (t *rateTable) set(of [scopes]Rates) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.parties {
		if of[key.scope] != t.of[key.scope] {
			delete(t.parties, key)
		}
	}
	changed = of != t.of
	t.of = of
	return changed
}

// any reports whether any rates are set.
func (t *rateTable) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of != [scopes]Rates{}
}

// party returns the party of a scope with a name; nil if the scope has no rates. Called with mu held.
func (t *rateTable) party(s scope, name string) *party {
	if t.of[s] == (Rates{}) {
		return nil
	}
	key := partyKey{s, name}
	p := t.parties[key]
	if p == nil {
		if len(t.parties) >= max(t.sweepAt, leastSweep) {
			t.sweep()
		}
		if t.parties == nil {
			t.parties = make(map[partyKey]*party)
		}
		p = newParty(s, t.of[s])
		t.parties[key] = p
	}
	return p
}

// sweep removes rested parties without connections. If too many parties without connections are left, it removes all of those. Called with
// mu held.
func (t *rateTable) sweep() {
	idle := 0
	for key, p := range t.parties {
		switch {
		case p.conns > 0:
		case p.rested():
			delete(t.parties, key)
		default:
			idle++
		}
	}
	if idle > 8*leastSweep {
		for key, p := range t.parties {
			if p.conns == 0 {
				delete(t.parties, key)
			}
		}
	}
	t.sweepAt = 2 * len(t.parties)
}

// join returns the parties that a client belongs to, and removes the client from the parties of before. A scope with an empty name has no
// party.
func (t *rateTable) join(before []*party, names [scopes]string) []*party {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range before {
		p.conns--
	}
	var now []*party
	for s, name := range names {
		if name == "" {
			continue
		}
		if p := t.party(scope(s), name); p != nil {
			p.conns++
			now = append(now, p)
		}
	}
	return now
}

// accepting returns the parties whose rates apply to accepting a connection: the node and one of its listeners.
func (t *rateTable) accepting(listener int) (out []*party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, name := range map[scope]string{ofNode: nodeName, ofListener: listenerName(listener)} {
		if p := t.party(s, name); p != nil {
			out = append(out, p)
		}
	}
	return out
}

const nodeName = "node"

func listenerName(index int) string { return strconv.Itoa(index) }

// rateNames returns the names of the parties that a connection belongs to, by scope.
func (c *conn) rateNames() (names [scopes]string) {
	names[ofClient], names[ofIdentity], names[ofNode] = c.clientID, ownerOf(c.admitted.Load()).Mark(), nodeName
	if c.place != nil {
		names[ofListener] = listenerName(c.place.listener)
		if source := c.place.address(); source.IsValid() {
			names[ofAddress] = source.String()
		}
	}
	return names
}

// joinRates makes an authenticated client subject to the server's rates.
func (s *Server) joinRates(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejoin(c)
}

// rejoin is called with mu held.
func (s *Server) rejoin(c *conn) {
	var before []*party
	if p := c.parties.Load(); p != nil {
		before = *p
	}
	if before == nil && !s.rates.any() {
		return
	}
	now := s.rates.join(before, c.rateNames())
	if now == nil {
		c.parties.Store(nil)
		return
	}
	c.parties.Store(&now)
}

// leaveRates undoes joinRates. Called with mu held.
func (s *Server) leaveRates(c *conn) {
	if p := c.parties.Swap(nil); p != nil {
		s.rates.join(*p, [scopes]string{})
	}
}

// heldTo returns the parties whose rates apply to the connection.
func (c *conn) heldTo() []*party {
	if p := c.parties.Load(); p != nil {
		return *p
	}
	return nil
}
