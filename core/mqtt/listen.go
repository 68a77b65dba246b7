package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/lmqgate/lmqgate/internal/socket"
)

// Listener is one address where clients connect.
type Listener struct {
	// Type is "tcp", "tls", "ws", "wss" or "unix".
	Type string
	// Address is host:port; for "unix" it is the path of the socket file.
	Address string
	// Path of a WebSocket listener.
	Path string
	// Permissions of a socket file.
	Permissions fs.FileMode
	// TLS is set for "tls" and "wss".
	TLS *tls.Config
	// AllowedOrigins are patterns of origins whose pages may connect by WebSocket, in addition to the listener's own host; "*" allows every
	// origin.
	AllowedOrigins []string
	// ProxyFrom are the networks whose connections must begin with a PROXY protocol header.
	ProxyFrom []netip.Prefix
}

// listen binds a listener.
func (l Listener) listen() (net.Listener, error) {
	var ln net.Listener
	var err error
	if l.Type == "unix" {
		ln, err = socket.ListenUnix(l.Address, l.Permissions)
	} else {
		ln, err = net.Listen("tcp", l.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s %s: %w; choose a free address in listeners", l.Type, l.Address, err)
	}
	return ln, nil
}

// accept accepts connections of one listener until the listener is closed.
func (s *Server) accept(d *door) {
	defer s.wg.Done()
	for {
		nc, pl, err := d.take()
		if err != nil {
			return
		}
		if !s.enter() {
			_ = nc.Close()
			return
		}
		go s.greet(d.l, nc, pl)
	}
}

// greet waits for a client's first byte before it spends anything on the connection: a silent connection costs only a small stack.
func (s *Server) greet(l Listener, raw net.Conn, pl *place) {
	defer s.wg.Done()
	defer pl.leave()
	begun := time.Now()
	err := raw.SetReadDeadline(begun.Add(s.o.ConnectTimeout))
	if err == nil {
		err = socket.WaitReadable(raw)
	}
	if err == nil {
		err = raw.SetReadDeadline(time.Time{})
	}
	if err != nil {
		s.failed(l, raw, err)
		return
	}
	s.prepare(l, raw, pl, begun)
}

// failed ends a connection before MQTT began.
func (s *Server) failed(l Listener, raw net.Conn, err error) {
	s.metrics.handshakes.WithLabelValues(l.Type).Inc()
	s.log.Debug("connection closed before MQTT began", "listener", l.Address, "error", err)
	_ = raw.Close()
}

// prepare unwraps a new connection and serves it. The client has Options.ConnectTimeout for all of that and for CONNECT.
func (s *Server) prepare(l Listener, raw net.Conn, pl *place, begun time.Time) {
	nc, err := s.unwrap(l, raw, pl, begun.Add(s.o.ConnectTimeout))
	if err != nil {
		s.failed(l, raw, err)
		return
	}
	c := s.newConn(nc, l.Type, remoteOf(nc), begun, pl)
	if !s.add(c) {
		_ = nc.Close()
		return
	}
	c.serve(s.ctx)
}

// unwrap removes the PROXY protocol header and TLS from a new connection, as configured for the listener.
func (s *Server) unwrap(l Listener, raw net.Conn, pl *place, deadline time.Time) (net.Conn, error) {
	if len(l.ProxyFrom) == 0 && l.TLS == nil {
		return raw, nil
	}
	ctx, cancel := context.WithDeadline(s.ctx, deadline)
	defer cancel()
	defer context.AfterFunc(s.ctx, func() { _ = raw.Close() })()
	nc, err := s.behindProxy(l, raw)
	if err == nil && nc != raw && !pl.comesFrom(nc.RemoteAddr()) {
		err = errTooMany
	}
	if err != nil || l.TLS == nil {
		return nc, err
	}
	t := tls.Server(nc, l.TLS)
	return t, t.HandshakeContext(ctx)
}

// errTooMany says that the client address named by a load balancer has too many connections that are not admitted.
var errTooMany = errors.New("too many connections of the address")

// remoteOf returns the address of a client: its host and port, or "unix".
func remoteOf(nc net.Conn) string {
	if nc.LocalAddr().Network() == "unix" {
		return "unix"
	}
	return nc.RemoteAddr().String()
}
