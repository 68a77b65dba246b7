package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Errors that a Backend wraps to choose the status of an answer.
var (
	// ErrInvalid: the request cannot be right (400).
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no such thing (404).
	ErrNotFound = errors.New("not found")
	// ErrConflict: the node is not in a state for it (409). See Conflict.
	ErrConflict = errors.New("not possible now")
)

// Conflict makes an error that is ErrConflict and says only what it is given.
func Conflict(format string, args ...any) error { return conflict{fmt.Errorf(format, args...)} }

type conflict struct{ error }

func (c conflict) Is(target error) bool { return target == ErrConflict }
func (c conflict) Unwrap() error        { return c.error }

// Topic is a first-level topic.
type Topic struct {
	Name    string   `json:"name"`
	Queues  int      `json:"queues"`
	Brokers []string `json:"brokers,omitempty"`
}

// Info describes the node.
type Info struct {
	Node        string    `json:"node"`
	Version     string    `json:"version"`
	Started     time.Time `json:"started"`
	Uptime      string    `json:"uptime"`
	Connections int       `json:"connections"`
	Store       string    `json:"store"`
	Auth        string    `json:"auth"`
	Meta        string    `json:"meta"`
}

// Backend is the node, as the API sees it. What is returned as any is written as JSON.
type Backend interface {
	Topics(ctx context.Context) ([]Topic, error)
	CreateTopic(ctx context.Context, name string, queues int) (Topic, error)
	DeleteTopic(ctx context.Context, name string) error
	Clients() any
	Subscriptions() any
	Kick(clientID string) bool
	// EndSession ends a session for good, with its connection.
	EndSession(ctx context.Context, clientID string) error
	Plugins() any
	// ReloadPlugins reads the configuration again and swaps plugins. What it returns with an error is told, too.
	ReloadPlugins(ctx context.Context, name string, force bool) (Reloaded, error)
	Nodes() any
	Info() Info
}

// Options configure a Server.
type Options struct {
	Address string
	// Token is what requests to /api/ must carry. Without one none is answered.
	Token string
	// MetricsToken has /metrics want the token, too.
	MetricsToken bool
	// TLS is set where the server speaks it; nil where it does not.
	TLS      *tls.Config
	Gatherer prometheus.Gatherer
	Backend  Backend
	Log      *slog.Logger
}

// Server is the admin HTTP server. Life: New, Start, Close.
type Server struct {
	o    Options
	ln   net.Listener
	http *http.Server
	done chan struct{}

	mu    sync.Mutex
	ready func() error
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{o: o, done: make(chan struct{}), ready: func() error { return errors.New("starting") }}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
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

// Addr is the address that is served.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// SetReady sets what /readyz asks.
func (s *Server) SetReady(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = f
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
		ready := s.ready
		s.mu.Unlock()
		if err := ready(); err != nil {
			text(w, http.StatusServiceUnavailable, strings.ReplaceAll(err.Error(), "\n", "; "))
			return
		}
		text(w, http.StatusOK, "ready")
	})))
	metrics := s.open
	if s.o.MetricsToken {
		metrics = s.guard
	}
	mux.Handle("GET /metrics", metrics(promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{})))
	api := http.NewServeMux()
	s.routes(api)
	mux.Handle("/api/", s.guard(api))
	return mux
}

func (s *Server) routes(api *http.ServeMux) {
	b := s.o.Backend
	api.HandleFunc("GET /api/v1/info", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, b.Info()) })
	api.HandleFunc("GET /api/v1/topics", func(w http.ResponseWriter, r *http.Request) {
		topics, err := b.Topics(r.Context())
		if err != nil {
			fail(w, err)
			return
		}
		if topics == nil {
			topics = []Topic{}
		}
		answer(w, http.StatusOK, map[string]any{"topics": topics})
	})
	api.HandleFunc("POST /api/v1/topics", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name   string `json:"name"`
			Queues int    `json:"queues"`
		}
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			fail(w, fmt.Errorf("%w: the body must be JSON like {\"name\": \"sensors\", \"queues\": 4}: %w", ErrInvalid, err))
			return
		}
		if in.Queues < 0 || in.Queues > 1024 {
			fail(w, fmt.Errorf("%w: queues is %d; choose 1 to 1024, or 0 for topics.queues", ErrInvalid, in.Queues))
			return
		}
		t, err := b.CreateTopic(r.Context(), in.Name, in.Queues)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, http.StatusCreated, t)
	})
	api.HandleFunc("DELETE /api/v1/topics/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := b.DeleteTopic(r.Context(), r.PathValue("name")); err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	list := func(pattern, key string, f func() any) {
		api.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]any{key: f()}) })
	}
	list("GET /api/v1/plugins", "plugins", b.Plugins)
	api.HandleFunc("POST /api/v1/plugins/reload", s.reload)
	list("GET /api/v1/clients", "clients", b.Clients)
	list("GET /api/v1/subscriptions", "subscriptions", b.Subscriptions)
	list("GET /api/v1/nodes", "nodes", b.Nodes)
	api.HandleFunc("POST /api/v1/clients/{id}/kick", func(w http.ResponseWriter, r *http.Request) {
		if !b.Kick(r.PathValue("id")) {
			fail(w, fmt.Errorf("%w: client %q is not connected to this node", ErrNotFound, r.PathValue("id")))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	api.HandleFunc("DELETE /api/v1/sessions/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := b.EndSession(r.Context(), r.PathValue("id")); err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	api.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, fmt.Errorf("%w: %s %s", ErrNotFound, r.Method, r.URL.Path))
	})
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
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func fail(w http.ResponseWriter, err error) {
	answer(w, statusOf(err), map[string]string{"error": err.Error()})
}

func statusOf(err error) int {
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
	}
	return status
}
