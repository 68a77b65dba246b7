package mqtt

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// trusts reports whether connections from an address must begin with a PROXY protocol header.
func (l Listener) trusts(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return false
	}
	for _, network := range l.ProxyFrom {
		if network.Contains(at.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// proxied makes a connection whose first bytes may be a PROXY protocol header. Connections from trusted addresses must have one. Others
// must not: they could claim any address.
func (l Listener) proxied(nc net.Conn, limit time.Duration) *proxyproto.Conn {
	policy := proxyproto.REJECT
	if l.trusts(nc.RemoteAddr()) {
		policy = proxyproto.REQUIRE
		nc = &gathered{Conn: nc}
	}
	return proxyproto.NewConn(nc, proxyproto.WithPolicy(policy), proxyproto.SetReadHeaderTimeout(limit))
}

// behindProxy removes the PROXY protocol header from a new connection, if the listener is configured for it.
func (s *Server) behindProxy(l Listener, nc net.Conn) (net.Conn, error) {
	if len(l.ProxyFrom) == 0 {
		return nc, nil
	}
	p := l.proxied(nc, s.o.ConnectTimeout)
	_, err := p.Read(nil) // reads only the header
	if err != nil {
		s.wrongHeader(l, nc, err)
		return nc, err
	}
	return p, nil
}

// wrongHeader logs why a connection is refused because of its header, or of a missing one.
func (s *Server) wrongHeader(l Listener, nc net.Conn, err error) {
	switch {
	case errors.Is(err, proxyproto.ErrSuperfluousProxyHeader):
		s.log.Warn("connection refused: it has a PROXY protocol header, and its address is not in the listener's proxy_protocol.from",
			"listener", l.Address, "remote", nc.RemoteAddr().String())
	case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		s.log.Warn("connection refused: it has no PROXY protocol header, which the listener's proxy_protocol.from asks of its address",
			"listener", l.Address, "remote", nc.RemoteAddr().String())
	}
}

// proxyListener is a listener that removes the PROXY protocol header from a connection at its first read.
type proxyListener struct {
	net.Listener
	l Listener
	s *Server
}

// Accept implements net.Listener.
func (p proxyListener) Accept() (net.Conn, error) {
	nc, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lazyHeader{Conn: p.l.proxied(nc, p.s.o.ConnectTimeout), raw: nc, p: p}, nil
}

var _ net.Listener = proxyListener{}

// lazyHeader is a connection whose header is read after it was accepted. It logs once what is wrong with the header.
type lazyHeader struct {
	*proxyproto.Conn
	raw  net.Conn
	p    proxyListener
	once sync.Once
}

// Read implements net.Conn.
func (c *lazyHeader) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.once.Do(func() { // the first read has read the header
		if err != nil {
			c.p.s.wrongHeader(c.p.l, c.raw, err)
		} else if pl := placeOf(c.raw); pl != nil && !pl.comesFrom(c.RemoteAddr()) {
			n, err = 0, errTooMany
			_ = c.Close()
		}
	})
	return n, err
}
