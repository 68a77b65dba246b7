package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// subprotocols that clients may ask for; the text names the first [MQTT-6.0.0-3], older clients use the second.
var subprotocols = []string{"mqtt", "mqttv3.1"}

// accepted says when an HTTP connection was accepted, and the place that it holds; its zero value is the key in a context.
type accepted struct {
	at    time.Time
	place *place
}

// httpServer makes the HTTP side of a WebSocket listener. Requests other than a WebSocket's handshake are answered with what is
// wrong, and their connections are not kept for long.
func (s *Server) httpServer(l Listener) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc(l.Path, func(w http.ResponseWriter, r *http.Request) { s.upgrade(l, w, r) })
	return &http.Server{Handler: mux, ReadHeaderTimeout: s.o.ConnectTimeout, ReadTimeout: s.o.ConnectTimeout,
		WriteTimeout: s.o.ConnectTimeout, IdleTimeout: s.o.ConnectTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, accepted{}, accepted{time.Now(), placeOf(nc)})
		}}
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

// overHTTP is a listener's TLS configuration for HTTP/1.1, which WebSockets begin with.
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

// upgrade makes a connection of a WebSocket. Its goroutine is the HTTP server's.
func (s *Server) upgrade(l Listener, w http.ResponseWriter, r *http.Request) {
	door, ok := r.Context().Value(accepted{}).(accepted)
	if !ok {
		door.at = time.Now()
	}
	origins := l.AllowedOrigins
	if s.o.PageOrigins != nil {
		origins = slices.Concat(origins, s.o.PageOrigins())
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: subprotocols, CompressionMode: websocket.CompressionDisabled,
		OriginPatterns: origins, InsecureSkipVerify: slices.Contains(l.AllowedOrigins, "*")})
	if err != nil {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		if origin := r.Header.Get("Origin"); origin != "" {
			s.log.Warn("WebSocket refused; if the page may connect, add its origin to the listener's allowed_origins", "listener", l.Address,
				"remote", r.RemoteAddr, "origin", origin, "error", err)
			return // Accept has answered
		}
		s.log.Debug("WebSocket handshake failed", "remote", r.RemoteAddr, "error", err)
		return
	}
	if ws.Subprotocol() == "" {
		s.metrics.handshakes.WithLabelValues(l.Type).Inc()
		_ = ws.Close(websocket.StatusProtocolError, "sub-protocol mqtt is required")
		return
	}
	ws.SetReadLimit(-1) // packets are bounded, frames need not be
	nc := &wsConn{Conn: websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary), tls: r.TLS}
	c := s.newConn(nc, l.Type, r.RemoteAddr, door.at, door.place)
	if !s.add(c) {
		_ = ws.Close(websocket.StatusGoingAway, "server is shutting down")
		return
	}
	c.stays = true // the HTTP server's goroutine ends with the connection
	c.serve(s.ctx)
}

// wsConn is a WebSocket as a stream of bytes, with the TLS state of the connection below it.
type wsConn struct {
	net.Conn
	tls *tls.ConnectionState
}
