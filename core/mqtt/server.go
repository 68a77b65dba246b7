package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/prometheus/client_golang/prometheus"
)

// Listener is one address where clients connect.
type Listener struct {
	// Type is "tcp", "tls", "ws" or "wss".
	Type    string
	Address string
	// Path of a WebSocket listener.
	Path string
	// TLS is set for "tls" and "wss".
	TLS *tls.Config
}

// Options configure a Server.
type Options struct {
	Listeners []Listener
	Sessions  *session.Manager
	Authority auth.Authority
	// MaxPacketSize bounds packets of clients, in bytes.
	MaxPacketSize uint32
	// ReceiveMaximum bounds a client's messages that are not acknowledged yet.
	ReceiveMaximum int
	// MaxKeepAlive, SessionExpiryMax and MaxConnections bound what clients ask for; 0: no limit.
	MaxKeepAlive     time.Duration
	SessionExpiryMax time.Duration
	MaxConnections   int
	Log              *slog.Logger
	Registerer       prometheus.Registerer
}

// Server takes MQTT connections. Life: New, Listen (binds), Serve (accepts), Close.
type Server struct {
	o       Options
	log     *slog.Logger
	metrics *metrics

	ctx    context.Context //nolint:containedctx // ends what connections ask of plugins and the store
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[*conn]struct{}
	admitted  int
}

// New makes a Server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Log, conns: make(map[*conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Registerer, s)
	return s
}

// Listen binds every listener and returns their addresses, in order.
func (s *Server) Listen() ([]net.Addr, error) {
	addrs := make([]net.Addr, 0, len(s.o.Listeners))
	for _, l := range s.o.Listeners {
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			s.closeListeners()
			return nil, fmt.Errorf("listener %s %s: %w; choose a free address in listeners", l.Type, l.Address, err)
		}
		s.mu.Lock()
		s.listeners = append(s.listeners, ln)
		s.mu.Unlock()
		addrs = append(addrs, ln.Addr())
	}
	return addrs, nil
}

// Serve begins to accept connections on what Listen has bound, and returns.
func (s *Server) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, ln := range s.listeners {
		l := s.o.Listeners[i]
		s.wg.Add(1)
		if l.Type == "ws" || l.Type == "wss" {
			go s.serveWebSocket(l, ln)
			continue
		}
		go s.accept(l, ln)
	}
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
		if l.TLS != nil {
			go s.handshakeTLS(l, nc)
			continue
		}
		s.start(l.Type, nc, nc.RemoteAddr().String())
	}
}

// handshakeTLS finishes a TLS handshake before the connection counts.
func (s *Server) handshakeTLS(l Listener, nc net.Conn) {
	t := tls.Server(nc, l.TLS)
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		s.log.Debug("TLS handshake failed", "remote", nc.RemoteAddr().String(), "error", err)
		_ = nc.Close()
		return
	}
	s.start(l.Type, t, nc.RemoteAddr().String())
}

// start runs a connection in a goroutine of its own.
func (s *Server) start(listener string, nc net.Conn, remote string) {
	c := &conn{srv: s, nc: nc, listener: listener, remote: remote, log: s.log}
	if !s.add(c) {
		_ = nc.Close()
		return
	}
	go s.run(c)
}

func (s *Server) run(c *conn) {
	defer s.wg.Done()
	c.serve(s.ctx)
	s.mu.Lock()
	delete(s.conns, c)
	if c.counted {
		s.admitted--
	}
	s.mu.Unlock()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// admitConnection counts a connection towards the limit; it returns false when the limit is reached.
func (s *Server) admitConnection(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.MaxConnections > 0 && s.admitted >= s.o.MaxConnections {
		return false
	}
	s.admitted++
	c.counted = true
	return true
}

// Connections is the number of open connections, admitted or not.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Revoke closes the connections of clients that an auth plugin no longer admits.
func (s *Server) Revoke(r auth.Revocation) {
	s.mu.Lock()
	var hit []*conn
	for c := range s.conns {
		if p := c.admitted.Load(); p != nil && p.Matches(r) {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	for _, c := range hit {
		c.Close(packet.NotAuthorized, "the client's admission was revoked")
	}
}

// StopAccepting closes the listeners. Connections stay.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closeListeners()
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
}

// Close closes what is still connected (sessions have been ended by the Manager before) and waits for it.
func (s *Server) Close() {
	s.StopAccepting()
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.out.close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
