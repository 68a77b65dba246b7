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
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/internal/repeat"
	"github.com/lmqgate/lmqgate/internal/socket"
	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a Server.
type Options struct {
	Listeners []Listener
	Sessions  *session.Manager
	Publisher *publish.Publisher
	Authority auth.Authority
	// MaxPacketSize bounds packets from clients, in bytes.
	MaxPacketSize uint32
	// ReceiveMaximum bounds a client's unacknowledged messages.
	ReceiveMaximum int
	// MaxKeepAlive and SessionExpiryMax bound what clients ask for; 0: no limit.
	MaxKeepAlive     time.Duration
	SessionExpiryMax time.Duration
	// Bounds are the initial bounds; see SetBounds.
	Bounds
	// Inbound is the node's memory for messages on their way into the store, Outbound the memory for messages on their way to clients; nil:
	// 256 MiB each.
	Inbound, Outbound *limits.Budget
	// StalledAfter is how long a connection that holds memory of the node may make no progress while others wait for memory; 0: 3 s.
	StalledAfter time.Duration
	// Bans holds who is banned; nil: the server makes its own.
	Bans *limits.Bans
	// SysInterval is how often clients that subscribe to $SYS are sent changes of the values that Sys returns; 0: there is no $SYS.
	SysInterval time.Duration
	Sys         func() []SysValue
	// Tracer shows packets to operators; nil: no tracing.
	Tracer *trace.Tracer
	// Spans makes OpenTelemetry spans; nil: none.
	Spans *tracing.Tracer
	// Watermark reports when the process is short of memory. Then no client is admitted. nil: never.
	Watermark *limits.Watermark
	// MaxTopicLevels bounds the levels of topic names and filters; 0: 128.
	MaxTopicLevels int
	// ReviewLeast is the minimum time between reviews of subscriptions that are due because the auth plugin's answers expire; 0: 30 s.
	ReviewLeast time.Duration
	// ConnectTimeout is the time from accepting a connection until CONNECT has arrived, including a PROXY protocol header and the TLS and
	// WebSocket handshakes; 0: 10 s.
	ConnectTimeout time.Duration
	// LeastRest is the shortest keep alive with which an idle connection rests; 0: 10 s. The end of the keep alive of a resting connection
	// is noticed up to a second late.
	LeastRest time.Duration
	// ResponseInformation is returned to MQTT 5 clients that ask for it; %c stands for the client id, %u for the user name. Empty: none.
	ResponseInformation string
	// ServerReference is the server that MQTT 5 clients are sent to when this server stops or is full; empty: none.
	ServerReference string
	// PageOrigins returns the hosts, with ports, of pages that may connect to every WebSocket listener; nil: none.
	PageOrigins func() []string
	// Events takes what happens to clients; nil: nobody wants to know. EventsHidden: clients may not subscribe to events.
	Events       *events.Log
	EventsHidden bool
	Log          *slog.Logger
	Registerer   prometheus.Registerer
}

// Defaults of Bounds.ClientInbound, and of Options.Inbound and Options.Outbound, in bytes.
const (
	clientInbound = 4 << 20
	nodeMemory    = 256 << 20
)

// Server accepts and serves MQTT connections. Life cycle: New, Listen (binds), Serve (accepts), Close.
type Server struct {
	o       Options
	bounds  atomic.Pointer[Bounds]
	log     *slog.Logger
	metrics *metrics

	ctx    context.Context //nolint:containedctx // ends what connections ask of plugins and the store
	cancel context.CancelFunc
	wg     sync.WaitGroup

	revoked revocations
	recent  recent // of connections
	// refusals are those of messages and subscriptions.
	refusals recent
	sys      sysReaders
	reviews  reviews
	pending  *pending
	rates    rateTable
	connect  budget
	poller   *socket.Poller // for resting connections; nil: no connection rests
	// inbound and outbound are Options.Inbound and Options.Outbound.
	inbound, outbound *limits.Budget
	// shortOfMemory limits the log lines about clients refused for lack of memory.
	shortOfMemory repeat.Line
	// stalledTold limits the log lines about stalled connections that are closed.
	stalledTold repeat.Line
	// turnedAway limits the log lines about connections that are turned away.
	turnedAway repeat.Line
	// repeat limits the log lines about identities and addresses that have too many connections.
	repeat *repeat.Log
	// topicsTold limits the log lines about messages for whose first-level topics there is no room.
	topicsTold repeat.Line
	// floodedTold limits the log lines about WebSockets with too many frames without data.
	floodedTold repeat.Line

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
		slots: slots{bounds: &o.Bounds}, repeat: repeat.New(o.Log, 0)}
	s.bounds.Store(&o.Bounds)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Registerer, s)
	s.pending = newPending(o, s.metrics, s.turned)
	s.connect.set(o.ConnectMemory)
	s.rates.set(o.rates())
	return s
}

// Listen binds every listener and returns the addresses, in order.
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

// Serve starts accepting connections on the listeners that Listen has bound, and returns.
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

// left removes a connection that is over.
func (s *Server) left(c *conn) {
	defer s.wg.Done()
	c.place.leave()
	s.mu.Lock()
	delete(s.conns, c)
	s.leaveRates(c)
	s.slots.leave(c)
	s.mu.Unlock()
}

// enter adds a connection that has no conn yet to those that Close waits for. It returns false once the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// add adds a connection; it returns false once the server is closed.
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

// takeSlot counts an authenticated client among the connections of the node, its identity and its address. If one of them may have no more,
// it returns that bound.
func (s *Server) takeSlot(c *conn) *tooMany {
	identity, source := ownerOf(c.principal).Mark(), c.place.address()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.seat.identity, c.seat.source = identity, source
	return s.slots.take(c)
}

// renameSlot counts a client for the identity that it has authenticated as anew.
func (s *Server) renameSlot(c *conn) {
	identity := ownerOf(c.principal).Mark()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.rename(c, identity)
}

// Connections returns the number of open connections, admitted or not.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// StopAccepting closes the listeners. Connections stay open.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closeListeners()
}

// stopping reports whether the node is shutting down.
func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
}

// Close closes the remaining connections and waits until they have ended. The session Manager has ended the sessions before.
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
		_ = srv.Close() // connections that have not become WebSockets
	}
	s.wg.Wait()
	s.repeat.Close()
	s.poller.Close()
}

// Unadmitted returns the number of open connections whose client is not admitted.
func (s *Server) Unadmitted() int { return s.pending.size() }

// Resting returns the number of open connections that are idle and therefore have neither a goroutine nor a buffer.
func (s *Server) Resting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poller.Waiting()
}
