package mqtt

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of Options.
const (
	defaultPending = 2048
	leastPending   = 64
	// roomPatience is how long a new connection waits if the clients of all places are being authenticated.
	roomPatience = time.Second
)

// pending bounds the connections whose client is not admitted yet: per node, listener, address and network of IPv6. At a bound a new
// connection displaces the connection that has been silent for longest, preferring the address or network that is closest to its bound. So
// a client that sends its CONNECT at once gets in, however many others merely hold connections open.
type pending struct {
	loopback   atomic.Bool
	log        func(reason string, source netip.Prefix)
	turnedAway *prometheus.CounterVec
	bans       *limits.Bans

	mu sync.Mutex
	// all, ofListener and ofAddress are bounds; 0: none. connects are the connection rates by address, perSecond the rate that they allow.
	all, ofListener, ofAddress int
	connects                   *limits.Buckets
	perSecond                  limits.Rate

	room       sync.Cond  // signalled when a place becomes free
	waiting    *list.List // of *place, oldest first
	byListener map[int]int
	byNetwork  map[netip.Prefix]int // see limits.NetworksOf
}

// place is what a connection holds until its client is admitted.
type place struct {
	of       *pending
	nc       net.Conn
	listener int
	source   netip.Prefix // invalid if no bound per address applies
	at       *list.Element
	judged   bool // CONNECT has arrived and the server is working on it
}

func newPending(o Options, m *metrics, log func(string, netip.Prefix)) *pending {
	p := &pending{log: log, turnedAway: m.turnedAway, bans: o.Bans, waiting: list.New(), byListener: make(map[int]int),
		byNetwork: make(map[netip.Prefix]int)}
	p.room.L = &p.mu
	p.set(o.Bounds)
	return p
}

// set sets the bounds. Connections above a lowered bound stay.
func (p *pending) set(o Bounds) {
	or := func(v, def int) int {
		if v == 0 {
			return def
		}
		return v
	}
	all := defaultPending
	if o.MaxConnections > 0 { // a small node is meant to have few connections of any kind
		all = min(all, max(2*o.MaxConnections, leastPending))
	}
	all = or(o.MaxPending, all)
	p.loopback.Store(o.BoundLoopback)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all, p.ofListener, p.ofAddress = all, or(o.MaxPendingOfListener, max(all/2, 1)), or(o.MaxPendingOfAddress, max(all/8, 1))
	if p.perSecond != o.Address.Connects {
		p.perSecond, p.connects = o.Address.Connects, limits.NewBuckets(o.Address.Connects)
	}
	p.room.Broadcast()
}

// enter takes a place for a new connection. It returns nil if it finds none, after waiting roomPatience at most.
func (p *pending) enter(nc net.Conn, listener int, source netip.Prefix) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lets(source) || !p.fits(source) {
		return nil
	}
	if !p.makeRoom(listener) {
		timer := time.AfterFunc(roomPatience, func() { p.mu.Lock(); defer p.mu.Unlock(); p.room.Broadcast() })
		defer timer.Stop()
		for begun := time.Now(); !p.makeRoom(listener); p.room.Wait() {
			if time.Since(begun) >= roomPatience {
				p.refuse("node", source)
				return nil
			}
		}
	}
	pl := &place{of: p, nc: nc, listener: listener, source: source}
	pl.at = p.waiting.PushBack(pl)
	p.byListener[listener]++
	p.count(source, 1)
	return pl
}

// count adds to the connections of an address and of the networks around it. Called with mu held.
func (p *pending) count(source netip.Prefix, n int) {
	for _, of := range limits.NetworksOf(source) {
		if p.byNetwork[of.Prefix] += n; p.byNetwork[of.Prefix] == 0 {
			delete(p.byNetwork, of.Prefix)
		}
	}
}

// boundOf returns how many connections an address, or a network with a share, may have. A network has at most half or three quarters of a
// listener's, so that it leaves some for others. Called with mu held.
func (p *pending) boundOf(share int) int {
	switch {
	case share == 1:
		return p.ofAddress
	case share <= 4:
		return max(p.ofAddress, min(share*p.ofAddress, p.ofListener/2))
	}
	return max(p.ofAddress, min(share*p.ofAddress, p.ofListener*3/4))
}

// fits makes room for one more connection from an address. Called with mu held.
func (p *pending) fits(source netip.Prefix) bool {
	if p.ofAddress == 0 {
		return true
	}
	for _, of := range limits.NetworksOf(source) {
		if p.byNetwork[of.Prefix] < p.boundOf(of.Share) {
			continue
		}
		victim := p.oldest(func(pl *place) bool { return within(pl.source, of.Prefix) })
		if victim == nil {
			p.refuse("address", source)
			return false
		}
		p.evict(victim, "address")
	}
	return true
}

// within reports whether an address belongs to a network.
func within(source, network netip.Prefix) bool {
	return source.IsValid() && network.Contains(source.Addr())
}

// makeRoom makes room for one more connection of a listener. Called with mu held.
func (p *pending) makeRoom(listener int) bool {
	if p.ofListener > 0 && p.byListener[listener] >= p.ofListener && !p.displace("listener", func(pl *place) bool { return pl.listener == listener }) {
		return false
	}
	return p.all == 0 || p.waiting.Len() < p.all || p.displace("node", func(*place) bool { return true })
}

// displace closes the connection that has been silent for longest, if possible from the address or network that is closest to its bound.
// Called with mu held.
func (p *pending) displace(reason string, among func(*place) bool) bool {
	var most netip.Prefix
	var used float64
	for network, n := range p.byNetwork {
		if of := float64(n) / float64(max(p.boundOf(limits.ShareOf(network)), 1)); of > used {
			most, used = network, of
		}
	}
	victim := p.oldest(func(pl *place) bool { return among(pl) && (!most.IsValid() || within(pl.source, most)) })
	if victim == nil {
		victim = p.oldest(among)
	}
	if victim == nil {
		return false
	}
	p.evict(victim, reason)
	return true
}

// oldest returns the oldest matching connection whose client has to send something. Called with mu held.
func (p *pending) oldest(of func(*place) bool) *place {
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		if pl, _ := e.Value.(*place); !pl.judged && of(pl) {
			return pl
		}
	}
	return nil
}

// shed closes the connection that has been silent for longest; it returns false if there is none.
func (p *pending) shed(reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.displace(reason, func(*place) bool { return true })
}

// evict closes a connection. Called with mu held.
func (p *pending) evict(pl *place, reason string) {
	p.remove(pl)
	p.refuse(reason, pl.source)
	_ = pl.nc.Close()
}

// refuse counts and logs a connection that was turned away.
func (p *pending) refuse(reason string, source netip.Prefix) {
	p.turnedAway.WithLabelValues(reason).Inc()
	p.log(reason, source)
}

func (p *pending) remove(pl *place) {
	if pl.at == nil {
		return
	}
	p.waiting.Remove(pl.at)
	pl.at = nil
	p.byListener[pl.listener]--
	p.count(pl.source, -1)
	p.room.Signal()
}

// close closes every connection whose client has to send something.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		if pl, _ := e.Value.(*place); !pl.judged {
			_ = pl.nc.Close()
		}
	}
}

// size returns how many connections are not admitted.
func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.Len()
}

// leave gives the place back, because the client is admitted or the connection is over.
func (pl *place) leave() {
	if pl == nil {
		return
	}
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	pl.of.remove(pl)
}

// gone reports whether the place was given back: the connection was closed to make room, or has left.
func (pl *place) gone() bool {
	if pl == nil {
		return false
	}
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	return pl.at == nil
}

// comesFrom sets the client address that a load balancer's header names. It returns false if that address has too many connections.
func (pl *place) comesFrom(addr net.Addr) bool {
	p := pl.of
	source := p.sourceOf(addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.at == nil {
		return false // closed meanwhile
	}
	if !p.lets(source) || !p.fits(source) {
		return false
	}
	p.count(pl.source, -1)
	p.count(source, 1)
	pl.source = source
	return true
}

// address returns the address of the connection; invalid if no bound applies.
func (pl *place) address() netip.Prefix {
	if pl == nil {
		return netip.Prefix{}
	}
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	return pl.source
}

// judging sets whether the server is working for the client, as opposed to waiting for it.
func (pl *place) judging(yes bool) {
	if pl == nil {
		return
	}
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	pl.judged = yes
}

// sourceOf returns the address by which connections are counted. It is invalid if no bound applies: for socket files, and for loopback,
// where a load balancer without a header may be.
func (p *pending) sourceOf(addr net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	source := limits.SourceOf(at.Addr())
	if source.Addr().IsLoopback() && !p.loopback.Load() {
		return netip.Prefix{}
	}
	return source
}
