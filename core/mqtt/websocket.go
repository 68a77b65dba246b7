package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// subprotocols that clients may ask for; the text names the first [MQTT-6.0.0-3], older clients use the second.
var subprotocols = []string{"mqtt", "mqttv3.1"}

// serveWebSocket serves one WebSocket listener until it is closed.
func (s *Server) serveWebSocket(l Listener, ln net.Listener) {
	defer s.wg.Done()
	if l.TLS != nil {
		cfg := l.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		ln = tls.NewListener(ln, cfg)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(l.Path, func(w http.ResponseWriter, r *http.Request) { s.upgrade(l, w, r) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: connectTimeout, IdleTimeout: connectTimeout, MaxHeaderBytes: 16 << 10}
	if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("WebSocket listener ended", "listener", l.Address, "error", err)
	}
}

// upgrade makes a connection of a WebSocket. Its goroutine is the HTTP server's.
func (s *Server) upgrade(l Listener, w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: subprotocols, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.log.Debug("WebSocket handshake failed", "remote", r.RemoteAddr, "error", err)
		return // Accept has answered
	}
	if ws.Subprotocol() == "" {
		_ = ws.Close(websocket.StatusProtocolError, "sub-protocol mqtt is required")
		return
	}
	ws.SetReadLimit(-1) // packets are bounded, frames need not be
	nc := &wsConn{Conn: websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary), tls: r.TLS}
	c := &conn{srv: s, nc: nc, listener: l.Type, remote: r.RemoteAddr, log: s.log}
	if !s.add(c) {
		_ = ws.Close(websocket.StatusGoingAway, "server is shutting down")
		return
	}
	s.run(c)
}

// wsConn is a WebSocket as a stream of bytes, with the TLS state of the connection below it.
type wsConn struct {
	net.Conn
	tls *tls.ConnectionState
}
