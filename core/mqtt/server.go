package mqtt

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/internal/repeat"
	"github.com/lmqgate/lmqgate/internal/socket"
	"github.com/prometheus/client_golang/prometheus"
)

// Options configure a Server.
type Options struct {
	Listeners []Listener
	Sessions  *session.Manager
	Publisher *publish.Publisher
	Authority auth.Authority
	// MaxPacketSize bounds packets of clients, in bytes.
	MaxPacketSize uint32
	// ReceiveMaximum bounds a client's messages that are not acknowledged yet.
	ReceiveMaximum int
	// MaxKeepAlive and SessionExpiryMax bound what clients ask for; 0: no limit.
	MaxKeepAlive     time.Duration
	SessionExpiryMax time.Duration
	// Bounds are those of the start; see SetBounds.
	Bounds
	// Inbound is the memory of the node for messages that are on their way into the store, Outbound for what is on its way to clients;
	// nil: 256 MiB each.
	Inbound, Outbound *limits.Budget
	// StalledAfter is how long a connection that holds memory of the node may make no progress while others wait for it; 0: 3 s.
	StalledAfter time.Duration
	// Bans is who is kept out; nil: a table of the server's own.
	Bans *limits.Bans
	// SysInterval is how often clients that subscribe to $SYS are sent what has changed of Sys; 0: there is no $SYS.
	SysInterval time.Duration
	Sys         func() []SysValue
	// Tracer is for those who watch; nil: nobody does.
	Tracer *trace.Tracer
	// Watermark tells when the process is short of memory: then no client is admitted. nil: never.
	Watermark *limits.Watermark
	// MaxTopicLevels bounds the levels of topic names and filters; 0: 128.
	MaxTopicLevels int
	// ReviewLeast is how long subscriptions are not judged again by the time for which the auth plugin's answers are good; 0: 30 s.
	ReviewLeast time.Duration
	// ConnectTimeout is how long a client may take from when it was accepted on until CONNECT is there, a PROXY protocol header
	// and the TLS and WebSocket handshakes included; 0: 10 s.
	ConnectTimeout time.Duration
	// LeastRest is the keep alive from which on an idle connection rests; 0: 10 s. Its end is noticed up to a second late then.
	LeastRest time.Duration
	// ResponseInformation is given to MQTT 5 clients that ask for it; %c is the client id, %u the user name. Empty: none.
	ResponseInformation string
	// ServerReference is where MQTT 5 clients are pointed to when this server stops or is full; empty: nowhere.
	ServerReference string
	// PageOrigins are hosts, with their ports, of pages that may connect to every WebSocket listener; nil: none.
	PageOrigins func() []string
	Log         *slog.Logger
	Registerer  prometheus.Registerer
}

// Bounds of Options where they are not set.
const (
	clientInbound = 4 << 20
	nodeMemory    = 256 << 20
)

// Server takes MQTT connections. Life: New, Listen (binds), Serve (accepts), Close.
type Server struct {
	o       Options
	bounds  atomic.Pointer[Bounds]
	log     *slog.Logger
	metrics *metrics

	ctx    context.Context //nolint:containedctx // ends what connections ask of plugins and the store
	cancel context.CancelFunc
	wg     sync.WaitGroup

	revoked revocations
	recent  recent
	sys     sysReaders
	reviews reviews
	pending *pending
	rates   rateTable
	connect budget
	poller  *socket.Poller // of connections that rest; nil: none does
	// inbound and outbound are Options.Inbound and Outbound.
	inbound, outbound *limits.Budget
	// shortOfMemory is when it was told last that clients are refused for want of memory.
	shortOfMemory repeat.Line
	// stalledTold is when it was told last that stalled connections are closed.
	stalledTold repeat.Line
	// turnedAway is when it was told last that connections are turned away.
	turnedAway repeat.Line

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	https     []*http.Server // of the WebSocket listeners
	conns     map[*conn]struct{}
	slots     slots
}

// New makes a Server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = connectTimeout
	}
	if o.ReviewLeast == 0 {
		o.ReviewLeast = reviewLeast
	}
	if o.LeastRest == 0 {
		o.LeastRest = leastRest
	}
	if o.MaxTopicLevels == 0 {
		o.MaxTopicLevels = maxTopicLevels
	}
	if o.Bans == nil {
		o.Bans = limits.NewBans()
	}
	if o.StalledAfter == 0 {
		o.StalledAfter = stalledAfter
	}
	if o.ClientInbound == 0 {
		o.ClientInbound = clientInbound
	}
	if o.Inbound == nil {
		o.Inbound = limits.NewBudget(nodeMemory, nil)
	}
	if o.Outbound == nil {
		o.Outbound = limits.NewBudget(nodeMemory, nil)
	}
	s := &Server{o: o, inbound: o.Inbound, outbound: o.Outbound, log: o.Log, conns: make(map[*conn]struct{}),
		slots: slots{limit: o.MaxConnections}}
	s.bounds.Store(&o.Bounds)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Registerer, s)
	s.pending = newPending(o, s.metrics, s.turned)
	s.connect.set(o.ConnectMemory)
	s.rates.set(o.rates())
	return s
}

// Listen binds every listener and returns their addresses, in order.
func (s *Server) Listen() ([]net.Addr, error) {
	addrs := make([]net.Addr, 0, len(s.o.Listeners))
	for _, l := range s.o.Listeners {
		ln, err := l.listen()
		if err != nil {
			s.closeListeners()
			return nil, err
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
	var err error
	if s.poller, err = socket.NewPoller(); err != nil {
		s.log.Warn("connections that have nothing to do keep a goroutine each: there is no poller", "error", err)
	}
	s.wg.Go(func() { s.relieve(s.ctx) })
	s.wg.Go(func() { s.endRests(s.ctx) })
	s.wg.Add(1)
	go s.reviewLoop()
	if s.o.SysInterval > 0 && s.o.Sys != nil {
		s.wg.Go(func() { s.serveSys(s.ctx) })
	}
	for i, ln := range s.listeners {
		l := s.o.Listeners[i]
		s.wg.Add(1)
		d := &door{Listener: ln, s: s, l: l, index: i}
		if l.Type == "ws" || l.Type == "wss" {
			srv := s.httpServer(l)
			s.https = append(s.https, srv)
			go s.serveWebSocket(l, d, srv)
			continue
		}
		go s.accept(d)
	}
}

// left takes a connection that is over off the server.
func (s *Server) left(c *conn) {
	defer s.wg.Done()
	c.place.leave()
	s.mu.Lock()
	delete(s.conns, c)
	s.leaveRates(c)
	s.slots.leave(c, func(old *conn) bool { _, open := s.conns[old]; return open })
	s.mu.Unlock()
}

// enter counts a connection that is no conn yet among what Close waits for; it returns false once the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// add takes a connection; it returns false once the server is closed.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	c.inflow.account.SetBound(s.bounds.Load().ClientInbound)
	s.wg.Add(1)
	return true
}

// takeSlot counts a client towards the limit; it returns false when the limit is reached.
func (s *Server) takeSlot(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots.take(c)
}

// keepSlot notes that a client has its session.
func (s *Server) keepSlot(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.attached(c)
}

// Connections is the number of open connections, admitted or not.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
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
	https := s.https
	s.mu.Unlock()
	s.pending.close()
	for _, srv := range https {
		_ = srv.Close() // what has not become a WebSocket
	}
	s.wg.Wait()
	s.poller.Close()
}

// Unadmitted is the number of open connections whose client is not admitted.
func (s *Server) Unadmitted() int { return s.pending.size() }

// Resting is the number of open connections that have nothing to do, and therefore neither a goroutine nor a buffer.
func (s *Server) Resting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poller.Waiting()
}
