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
)

// Listener is one address where clients connect.
type Listener struct {
	// Type is "tcp", "tls", "ws", "wss" or "unix".
	Type string
	// Address is host:port; of "unix" the path of the socket file.
	Address string
	// Path of a WebSocket listener.
	Path string
	// Permissions of a socket file.
	Permissions fs.FileMode
	// TLS is set for "tls" and "wss".
	TLS *tls.Config
	// AllowedOrigins are the patterns of origins whose pages may connect by WebSocket, besides the listener's own host; "*"
	// is everybody's.
	AllowedOrigins []string
	// ProxyFrom are the networks whose connections begin with a PROXY protocol header.
	ProxyFrom []netip.Prefix
}

// listen binds a listener.
func (l Listener) listen() (net.Listener, error) {
	var ln net.Listener
	var err error
	if l.Type == "unix" {
		ln, err = listenUnix(l.Address, l.Permissions)
	} else {
		ln, err = net.Listen("tcp", l.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s %s: %w; choose a free address in listeners", l.Type, l.Address, err)
	}
	return ln, nil
}

// accept takes connections of one listener until it is closed.
func (s *Server) accept(l Listener, ln net.Listener) {
	defer s.wg.Done()
	var wait time.Duration
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, for instance: what is connected goes on.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.Warn("accepting a connection failed; trying again", "listener", l.Address, "error", err, "wait", wait)
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(wait):
			}
			continue
		}
		wait = 0
		if !s.enter() {
			_ = nc.Close()
			return
		}
		go s.prepare(l, nc)
	}
}

// prepare finishes what comes before MQTT before the connection counts, and serves it. The client has Options.ConnectTimeout for
// all of that and CONNECT.
func (s *Server) prepare(l Listener, raw net.Conn) {
	defer s.wg.Done()
	begun := time.Now()
	nc, err := s.unwrap(l, raw, begun.Add(s.o.ConnectTimeout))
	if err != nil {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		s.log.Debug("connection closed before MQTT began", "listener", l.Address, "error", err)
		_ = raw.Close()
		return
	}
	c := &conn{srv: s, nc: nc, listener: l.Type, remote: remoteOf(nc), begun: begun, log: s.log}
	if !s.add(c) {
		_ = nc.Close()
		return
	}
	s.run(c)
}

// unwrap takes the PROXY protocol header and TLS off a new connection, as the listener has them.
func (s *Server) unwrap(l Listener, raw net.Conn, deadline time.Time) (net.Conn, error) {
	if len(l.ProxyFrom) == 0 && l.TLS == nil {
		return raw, nil
	}
	ctx, cancel := context.WithDeadline(s.ctx, deadline)
	defer cancel()
	defer context.AfterFunc(s.ctx, func() { _ = raw.Close() })()
	nc, err := s.behindProxy(l, raw)
	if err != nil || l.TLS == nil {
		return nc, err
	}
	t := tls.Server(nc, l.TLS)
	return t, t.HandshakeContext(ctx)
}

// remoteOf says where a client comes from: its host and port, or "unix".
func remoteOf(nc net.Conn) string {
	if nc.LocalAddr().Network() == "unix" {
		return "unix"
	}
	return nc.RemoteAddr().String()
}
