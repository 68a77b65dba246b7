package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/lmqgate/lmqgate/core/mqtt/websocket"
	"github.com/lmqgate/lmqgate/core/packet"
)

// subprotocols that clients may ask for. The specification names the first [MQTT-6.0.0-3]; older clients use the second.
var subprotocols = []string{"mqtt", "mqttv3.1"}

// accepted says when an HTTP connection was accepted, and holds its place. Its zero value is the key in a context.
type accepted struct {
	at    time.Time
	place *place
}

// httpServer makes the HTTP side of a WebSocket listener. A request other than a WebSocket handshake gets an error, and its connection
// ends: otherwise a stranger could send such requests without end.
func (s *Server) httpServer(l Listener) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc(l.Path, func(w http.ResponseWriter, r *http.Request) { s.upgrade(l, w, r) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: s.o.ConnectTimeout, ReadTimeout: s.o.ConnectTimeout,
		WriteTimeout: s.o.ConnectTimeout, IdleTimeout: s.o.ConnectTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, accepted{}, accepted{time.Now(), placeOf(nc)})
		}}
	srv.SetKeepAlivesEnabled(false)
	return srv
}

// serveWebSocket serves one WebSocket listener until it is closed.
func (s *Server) serveWebSocket(l Listener, ln net.Listener, srv *http.Server) {
	defer s.wg.Done()
	if len(l.ProxyFrom) > 0 {
		ln = proxyListener{ln, l, s}
	}
	if l.TLS != nil {
		ln = tls.NewListener(ln, overHTTP(l.TLS))
	}
	if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("WebSocket listener ended", "listener", l.Address, "error", err)
	}
}

// overHTTP adapts a listener's TLS configuration to HTTP/1.1, with which WebSockets begin.
func overHTTP(c *tls.Config) *tls.Config {
	out := c.Clone()
	out.NextProtos = []string{"http/1.1"}
	if choose := c.GetConfigForClient; choose != nil {
		out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen != nil {
				chosen = chosen.Clone()
				chosen.NextProtos = out.NextProtos
			}
			return chosen, err
		}
	}
	return out
}

// upgrade makes a connection of a WebSocket. It runs on a goroutine of the HTTP server.
func (s *Server) upgrade(l Listener, w http.ResponseWriter, r *http.Request) {
	door, ok := r.Context().Value(accepted{}).(accepted)
	if !ok {
		door.at = time.Now()
	}
	origins := l.AllowedOrigins
	if s.o.PageOrigins != nil {
		origins = slices.Concat(origins, s.o.PageOrigins())
	}
	if err := checkOrigin(r, origins); err != nil {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		s.log.Warn("WebSocket refused; if the page may connect, add its origin to the listener's allowed_origins", "listener", l.Address,
			"remote", r.RemoteAddr, "origin", r.Header.Get("Origin"), "error", err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	u := ws.HTTPUpgrader{Timeout: s.o.ConnectTimeout, Protocol: func(name string) bool { return slices.Contains(subprotocols, name) }}
	raw, rw, shaken, err := u.Upgrade(r, w)
	if err != nil {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		s.log.Debug("WebSocket handshake failed", "remote", r.RemoteAddr, "error", err)
		if raw != nil {
			_ = raw.Close()
		}
		return
	}
	pending, _ := rw.Reader.Peek(rw.Reader.Buffered()) // peeking at buffered bytes cannot fail
	nc := websocket.New(raw, bytes.Clone(pending))
	if shaken.Protocol == "" {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		_ = nc.Fail(ws.StatusProtocolError, errNoSubprotocol)
		_ = nc.Close()
		return
	}
	c := s.newConn(nc, l.Type, r.RemoteAddr, door.at, door.place)
	if !s.add(c) {
		_ = nc.Fail(ws.StatusGoingAway, errStopping)
		_ = nc.Close()
		return
	}
	go c.serve(s.ctx) // on a new goroutine, so that the HTTP server's resources for the connection are freed
}

var (
	errNoSubprotocol = errors.New("sub-protocol mqtt is required")
	errStopping      = errors.New("server is shutting down")
)

// checkOrigin returns an error if a page of another host may not connect. Clients that are not browsers send no origin.
func checkOrigin(r *http.Request, allowed []string) error {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(allowed, "*") {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil {
		return fmt.Errorf("origin %q is malformed", origin)
	}
	host := strings.ToLower(u.Host)
	if host != "" && host == strings.ToLower(r.Host) {
		return nil
	}
	for _, pattern := range allowed {
		of := host
		if strings.Contains(pattern, "://") {
			of = strings.ToLower(u.Scheme) + "://" + host
		}
		if ok, err := path.Match(strings.ToLower(pattern), of); ok && err == nil {
			return nil
		}
	}
	return fmt.Errorf("origin %q may not connect", origin)
}

// flooded tells operators that the connection is closed because of websocket.ErrFlooded.
func (c *conn) flooded() {
	c.causeMu.Lock()
	if c.cause == "" {
		c.cause, c.closeCode = websocket.ErrFlooded.Error(), packet.MessageRateTooHigh
	}
	c.causeMu.Unlock()
	if times, due := c.srv.floodedTold.Due(tellEvery); due {
		c.log.Warn("connections are closed: they sent too many WebSocket frames without data", "times", times, "last_from", c.remote,
			"client", c.clientID)
	}
}
