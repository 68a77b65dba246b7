package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options configure a Server.
type Options struct {
	Address string
	// Token is the token that requests to /api/ must carry. If it is empty, none is answered.
	Token string
	// Tokens are accepted as well, within their roles.
	Tokens []Token
	// MetricsToken makes /metrics require the token, too.
	MetricsToken bool
	// Pprof serves profiles to holders of the token.
	Pprof bool
	// TLS is the TLS configuration; nil for plain HTTP.
	TLS      *tls.Config
	Gatherer prometheus.Gatherer
	Backend  Backend
	// Version of the gateway, for the API's description.
	Version string
	Log     *slog.Logger
}

// Server is the admin HTTP server. Life cycle: New, Start, Close.
type Server struct {
	o    Options
	ln   net.Listener
	http *http.Server
	done chan struct{}

	conns connections

	mu     sync.Mutex
	ready  func() error
	notice func() string
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{o: o, done: make(chan struct{}), ready: func() error { return errors.New("starting") },
		notice: func() string { return "" }}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(httpErrors{s.log()}, "", 0), ConnState: s.conns.changed}
	return s
}

// Start binds the address and serves in the background.
func (s *Server) Start() error {
	ln, err := net.Listen("tcp", s.o.Address)
	if err != nil {
		return fmt.Errorf("admin.address %s: %w; choose a free address", s.o.Address, err)
	}
	s.ln = ln
	if s.o.TLS != nil {
		ln = tls.NewListener(ln, s.o.TLS)
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.o.Log.Warn("admin HTTP server ended", "error", err)
		}
	}()
	return nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// SetReady sets the readiness check of /readyz.
func (s *Server) SetReady(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = f
}

// SetNotice sets a function whose text /readyz adds below the state; each line of it ends in a line feed.
func (s *Server) SetNotice(f func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notice = f
}

// Close stops the server.
func (s *Server) Close() {
	if s.ln == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })))
	mux.Handle("GET /readyz", s.open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		ready, notice := s.ready, s.notice
		s.mu.Unlock()
		status, state := http.StatusOK, "ready"
		if err := ready(); err != nil {
			status, state = http.StatusServiceUnavailable, strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		text(w, status, strings.TrimSuffix(state+"\n"+notice(), "\n"))
	})))
	metrics := s.open
	if s.o.MetricsToken {
		metrics = s.guard
	}
	s.dashboard(mux)
	mux.Handle("GET /metrics", metrics(promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{})))
	if s.o.Pprof {
		mux.Handle("/debug/pprof/", s.guardFor(Administrator, profiles()))
	}
	api := newAPI(s.o.Backend, s.o.Version)
	mux.Handle("/api/", s.guard(api))
	for _, described := range []string{"GET /api/v1/{$}", "GET /api/v1/openapi.json", "GET /api/v1/openapi.yaml"} {
		mux.Handle(described, s.open(api)) // the description contains no data of the node
	}
	return mux
}

// httpErrors writes what the HTTP server reports to the log: failed TLS handshakes and other faults of clients at level debug, because
// anybody can cause them, and panics as errors.
type httpErrors struct{ log *slog.Logger }

// Write implements io.Writer.
func (h httpErrors) Write(line []byte) (int, error) {
	if text := string(line); strings.HasPrefix(text, "http: panic serving") {
		h.log.Error("an admin request failed with a panic; please report it", "output", text)
	} else {
		h.log.Debug("admin HTTP server", "detail", strings.TrimSpace(text))
	}
	return len(line), nil
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, body)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}
