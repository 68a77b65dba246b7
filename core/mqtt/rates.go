package mqtt

import (
	"strconv"
	"sync"

	"github.com/lmqgate/lmqgate/core/limits"
)

// Rates are what one party may do a second; 0: no limit. Over them its clients are not read, not sent to, or not admitted for as long as
// it takes: they wait, and are refused only where that would take too long.
type Rates struct {
	// Connects counts connections, of clients and identities those that were authenticated.
	Connects limits.Rate
	// Messages, Bytes and Filters count PUBLISH packets of clients, the bytes of them, and the filters that they subscribe to.
	Messages, Bytes, Filters limits.Rate
	// Outbound counts the bytes of messages to clients, what they missed while they were away included.
	Outbound limits.Rate
}

// scope is whose rates are meant. A connection is held to those of each scope.
type scope int

const (
	ofClient scope = iota
	ofIdentity
	ofAddress
	ofListener
	ofNode
	scopes
)

// party is somebody who is held to rates, in any number of connections.
type party struct {
	scope scope

	connects, messages, bytes, filters, outbound *limits.Bucket

	// conns are the connections that have it; guarded by rateTable.mu.
	conns int
}

func newParty(of scope, r Rates) *party {
	return &party{scope: of, connects: limits.NewBucket(r.Connects), messages: limits.NewBucket(r.Messages),
		bytes: limits.NewBucket(r.Bytes), filters: limits.NewBucket(r.Filters), outbound: limits.NewBucket(r.Outbound)}
}

// rested reports whether the party has used nothing lately, so that a new one is as good.
func (p *party) rested() bool {
	return p.connects.Full() && p.messages.Full() && p.bytes.Full() && p.filters.Full() && p.outbound.Full()
}

// partyKey is who a party is.
type partyKey struct {
	scope scope
	name  string
}

// rateTable knows the parties that are held to rates. One that has no connection any more is remembered until it has rested: who connects
// again gets nothing anew.
type rateTable struct {
	mu sync.Mutex
	// of are the rates of each scope; the zero Rates: its parties are not held to any.
	of      [scopes]Rates
	parties map[partyKey]*party
	sweepAt int // with how many parties those that have rested are forgotten
}

// leastSweep is up to how many parties none is forgotten.
const leastSweep = 4096

// set changes the rates. Parties of scopes whose rates change begin anew; connections must join again.
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

// any reports whether there are rates at all.
func (t *rateTable) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of != [scopes]Rates{}
}

// party returns who is held to the rates of a scope; nil where it has none. Called with mu held.
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

// sweep forgets parties without connections that have rested, and all without connections where those are too many. Called with mu held.
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

// join returns the parties that a client belongs to, after it has left those that it had. Empty names are nobody in particular.
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

// accepting returns the parties that accept connections: the node and one of its listeners.
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

// rateNames are the names of the parties that a connection belongs to.
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

// joinRates holds a client that was authenticated to the rates of the server.
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

// leaveRates is the end of joinRates. Called with mu held.
func (s *Server) leaveRates(c *conn) {
	if p := c.parties.Swap(nil); p != nil {
		s.rates.join(*p, [scopes]string{})
	}
}

// heldTo lists the parties whose rates the connection is held to.
func (c *conn) heldTo() []*party {
	if p := c.parties.Load(); p != nil {
		return *p
	}
	return nil
}
