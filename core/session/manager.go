package session

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/internal/wait"
	"github.com/prometheus/client_golang/prometheus"
)

// Metadata is the part of the metadata that sessions use; see package meta for the contracts.
type Metadata interface {
	LoadSession(ctx context.Context, clientID string) (*meta.Session, error)
	SaveSession(ctx context.Context, s *meta.Session) error
	DropSession(ctx context.Context, s *meta.Session) error
	EachSessionState(ctx context.Context, f func(*meta.Session) error) error
	RegisterFilters(ctx context.Context, filters ...string) error
	Register(ctx context.Context, by meta.Owner, client string, filters []string) *meta.Registration
	Withdraw(ctx context.Context, r *meta.Registration, filters []string)
	ClientKeys() int
	Room(by meta.Owner, client string, filters ...string) error
	LearnFilters(ctx context.Context, filters ...string) error
	NewFilters(filters ...string) []string
	HasFilter(filter string) bool
	Retained(filter string) ([]*meta.Retained, uint64)
	RetainedTo(client string) ([]*meta.Retained, uint64)
	IsNewest(topic string, at store.Position) bool
	RemovedSince(topic string, at store.Position) uint64
	OnRetained(f func(v *meta.Retained, version uint64))
	SaveWill(ctx context.Context, w *meta.Will) error
	DeleteWill(ctx context.Context, clientID string) error
	LoadWill(ctx context.Context, clientID string) (*meta.Will, error)
	TakeThisWill(ctx context.Context, w *meta.Will) (bool, error)
	EachWill(ctx context.Context, f func(*meta.Will) error) error
}

// Catalog is what sessions need to know about first-level topics; see package catalog.
type Catalog interface {
	Topics() []string
	Resolve(first string) (string, error)
	Ensure(ctx context.Context, first string, by topic.Maker) (string, error)
	Check(ctx context.Context, first string, by topic.Maker) error
	Physical(ctx context.Context, name string, by topic.Maker) (string, error)
	Compatible() bool
}

// Options configures a Manager.
type Options struct {
	NodeID    string
	Store     store.Store
	Hub       *delivery.Hub
	Catalog   Catalog
	Publisher *publish.Publisher
	Meta      Metadata
	// Cluster makes sure that a client id is connected only once in the cluster; nil: this node is the only one.
	Cluster *cluster.Cluster
	// Alive reports whether a node of the cluster is known to be alive; nil: only this one is.
	Alive func(node string) bool
	// ExpiryMax bounds how long sessions outlive their connections; 0: no bound.
	ExpiryMax time.Duration
	// CommitInterval is how often progress is committed; 0: 1 s. After a crash, messages acknowledged since the last commit are delivered
	// again.
	CommitInterval time.Duration
	// SubscribeTimeout bounds a SUBSCRIBE to one filter; 0: 10 s. Each further filter adds 50 ms, up to six times SubscribeTimeout in all.
	SubscribeTimeout time.Duration
	// Settle is how long the queues of a new subscription wait for its tail to bring what is stored while the tail stands still; 0: 10 s.
	Settle time.Duration
	// MaxSubscriptions bounds the subscriptions of one client; 0: 10,000. A client never gets more than its share of the room in the
	// metadata, whatever this says.
	MaxSubscriptions int
	// SubscriptionMemory bounds the memory of the subscriptions of all clients, in bytes; 0: no bound. IdentityShare is the percentage of
	// it that the clients of one identity may use; 0: limits.IdentityShare. See SetSubscriptions.
	SubscriptionMemory int64
	IdentityShare      int
	// Short reports whether the process is short of memory. If it is, new subscriptions are refused. nil: it never is.
	Short func() bool
	// Judge decides about wills when they are due; nil: they are published without a decision.
	Judge Judge
	// Banned reports whether an operator has banned a client, whose will is then not published; nil: nobody is banned. by is nil if the
	// client is anonymous and its will was left by another process.
	Banned func(clientID string, by *auth.Principal) bool
	// AnyOwner lets any client have the session of its client id, whatever identity it was admitted as.
	AnyOwner bool
	// Kept is the node's memory for messages that clients have not acknowledged, kept to be sent again; nil: 256 MiB. MaxKept is the most
	// that one client may use of it, in bytes; 0: 1 MiB. Messages that are not kept are read from the store again.
	Kept    *limits.Budget
	MaxKept int64
	// WillGrace is how long clients have to reconnect after a restart, and a node that left cleanly to come back, before wills are
	// published; 0: 30 s.
	WillGrace time.Duration
	// Events takes what happens to sessions; nil: nobody wants to know.
	Events *events.Log
	// Spans traces deliveries; nil: none are traced.
	Spans      *tracing.Tracer
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// ErrClosed says that the manager is closed.
var ErrClosed = errors.New("sessions are closed")

// ErrClientID says that a client id is too long for a recorded session.
var ErrClientID = errors.New("the client id is too long")

// maxClientID is the longest client id of a recorded session, in bytes: every metadata backend accepts a key of this length.
const maxClientID = 24 << 10

// errTooManySubscriptions says that the client has reached its limit of subscriptions.
var errTooManySubscriptions = errors.New("the client has too many subscriptions")

// maxSubscriptions returns how many subscriptions a client may have, and how many of them may take a key of the metadata. Durable and
// shared subscriptions take one.
func (m *Manager) maxSubscriptions() (all, keys int) {
	all = int(m.maxSubs.Load())
	if keys = m.o.Meta.ClientKeys(); keys > 0 {
		return all, min(all, keys)
	}
	return all, all
}

// Manager holds the sessions of a node.
type Manager struct {
	o          Options
	maxKept    atomic.Int64 // Options.MaxKept, which may change
	maxSubs    atomic.Int64 // Options.MaxSubscriptions, which may change
	room       subscriptionRoom
	log        *slog.Logger
	metrics    *metrics
	commits    commits
	publishing publishing
	fetches    chan struct{} // bounds concurrent reads of the store for readers that are behind

	topicsChanged chan struct{}
	started       time.Time // set by Start, before any client connects

	ctx     context.Context //nolint:containedctx // ends the manager's own goroutines
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	work    *running // goroutines started for a client's packet or a record
	filters *cluster.Announcer

	mu       sync.Mutex
	closed   bool
	draining bool                // the node is stopping: wills are kept, as when closed
	sessions map[string]*Session // connected, or away with messages in flight
	locks    map[string]*clientLock
	wills    map[string]*delayedWill // delayed wills by client id
	// left are the nodes whose return NodeLeft awaits, each with the number of its departure; departures counts those.
	left       map[string]int64
	departures int64
	// inherited are wills taken from other nodes, by node; see inherit. leftTo are those that this node has left to others, by client id;
	// they were last looked through at leftSwept. undecided counts, by client id, the wills that are due and may be left to others yet.
	inherited map[string][]inherited
	leftTo    map[string]leftWill
	leftSwept time.Time
	undecided map[string]int
	online    int
}

type clientLock struct {
	held chan struct{}
	refs int
}

// Defaults of Options.MaxKept and Options.Kept, in bytes.
const (
	maxKept  = 1 << 20
	nodeKept = 256 << 20
)

// maxFetches bounds how many readers read the store at the same time.
const maxFetches = 128

// NewManager makes a Manager; Start begins its background work.
func NewManager(o Options) *Manager {
	o.CommitInterval = cmp.Or(o.CommitInterval, time.Second)
	o.SubscribeTimeout = cmp.Or(o.SubscribeTimeout, 10*time.Second)
	o.Settle = cmp.Or(o.Settle, 10*time.Second)
	o.WillGrace = cmp.Or(o.WillGrace, 30*time.Second)
	o.MaxSubscriptions = cmp.Or(o.MaxSubscriptions, 10_000)
	o.MaxKept = cmp.Or(o.MaxKept, maxKept)
	if o.Kept == nil {
		o.Kept = limits.NewBudget(nodeKept, nil)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{o: o, log: o.Log, fetches: make(chan struct{}, maxFetches), sessions: make(map[string]*Session),
		locks: make(map[string]*clientLock), wills: make(map[string]*delayedWill),
		left: make(map[string]int64), inherited: make(map[string][]inherited), leftTo: make(map[string]leftWill),
		undecided: make(map[string]int), topicsChanged: make(chan struct{}, 1)}
	m.maxKept.Store(o.MaxKept)
	m.SetSubscriptions(o.MaxSubscriptions, o.SubscriptionMemory, o.IdentityShare)
	m.work = newRunning()
	m.filters = o.Cluster.Announcer(AskFilters)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.metrics = newMetrics(o.Registerer, m)
	return m
}

// SetMaxKept changes Options.MaxKept for messages sent from now on.
func (m *Manager) SetMaxKept(bytes int64) { m.maxKept.Store(bytes) }

// Connected returns how many clients are connected to this node.
func (m *Manager) Connected() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.online
}

// Start starts the background work: committing progress, expiring sessions, publishing wills that a crash left behind, and watching for new
// queues.
func (m *Manager) Start() {
	m.started = time.Now()
	m.o.Meta.OnRetained(m.retainedShown)
	m.wg.Add(4)
	go m.commitLoop()
	go m.expireLoop()
	go m.recoverWills()
	go m.watchQueues()
}

// Close ends every session's connection, leaves wills to other nodes or the next start (none is published), commits progress and stops the
// background work.
func (m *Manager) Close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	all := make([]*Session, 0, len(m.sessions))
	for _, s := range m.sessions {
		all = append(all, s)
	}
	for _, w := range m.wills {
		w.timer.Stop()
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	limit := make(chan struct{}, 64)
	for _, s := range all {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			s.shutdown(ctx)
		})
	}
	wg.Wait()
	m.cancel()
	m.work.wait()
	m.wg.Wait()
}

// Drain detaches the sessions of connected clients as Close does, but one after another, spread evenly over a duration, so that these
// clients do not all reconnect elsewhere at once. It returns when all are detached or ctx ends. The caller makes sure that nobody connects
// any more.
func (m *Manager) Drain(ctx context.Context, over time.Duration) {
	m.mu.Lock()
	m.draining = true
	m.mu.Unlock()
	var all []*Session
	for _, s := range m.inMemory() {
		if !s.detached() {
			all = append(all, s)
		}
	}
	p := newPace()
	defer p.wait()
	for i, s := range all {
		if !p.step(ctx, over/time.Duration(len(all))*time.Duration(i), func() { s.shutdown(ctx) }) {
			return
		}
	}
}

// pace starts actions at given times, up to 64 side by side if some take long.
type pace struct {
	begun time.Time
	limit chan struct{}
	wg    sync.WaitGroup
}

func newPace() *pace { return &pace{begun: time.Now(), limit: make(chan struct{}, 64)} }

// step runs f once the time at after the beginning has come. It returns false, without running f, if ctx ends first.
func (p *pace) step(ctx context.Context, at time.Duration, f func()) bool {
	if wait.For(ctx, time.Until(p.begun.Add(at))) != nil {
		return false
	}
	p.limit <- struct{}{}
	p.wg.Go(func() {
		defer func() { <-p.limit }()
		f()
	})
	return true
}

// wait returns once all started actions have ended.
func (p *pace) wait() { p.wg.Wait() }

// run starts f in a goroutine that the manager waits for when it closes. Once the manager is closed, it does nothing and returns false.
func (m *Manager) run(f func()) bool {
	if !m.work.enter() {
		return false
	}
	go func() {
		defer m.work.leave()
		f()
	}()
	return true
}

// fetch reads up to n records from the store for a reader that is behind. The number of concurrent fetches is bounded.
func (m *Manager) fetch(r delivery.Reader, n int, buf []delivery.Item) ([]delivery.Item, error) {
	select {
	case m.fetches <- struct{}{}:
	case <-m.ctx.Done():
		return nil, m.ctx.Err()
	}
	defer func() { <-m.fetches }()
	ctx, cancel := context.WithTimeout(m.ctx, fetchTimeout)
	defer cancel()
	return r.Fetch(ctx, n, buf)
}

const fetchTimeout = 10 * time.Second

// lock waits for the lock of a client id. The lock serializes attaching and detaching connections of one client.
func (m *Manager) lock(ctx context.Context, id string) (unlock func(), err error) {
	m.mu.Lock()
	l := m.locks[id]
	if l == nil {
		l = &clientLock{held: make(chan struct{}, 1)}
		m.locks[id] = l
	}
	l.refs++
	m.mu.Unlock()
	release := func() {
		m.mu.Lock()
		l.refs--
		if l.refs == 0 {
			delete(m.locks, id)
		}
		m.mu.Unlock()
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; release() }, nil
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}

// session returns a session if it is in memory, else nil.
func (m *Manager) session(id string) *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[id]
}

// inMemory returns the sessions that are in memory, in no order.
func (m *Manager) inMemory() []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.sessions))
}

// Kick closes a client's connection; it returns false if the client is not connected here. The session stays.
func (m *Manager) Kick(id string) bool {
	s := m.session(id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return false
	}
	s.conn.Close(packet.AdministrativeAction, "closed by an operator")
	return true
}

// InUse reports whether a session on this node reads a filter's queue, or is a member of the shared group that the filter names
// ("$share/group/filter").
func (m *Manager) InUse(filter string) bool {
	if m.o.Hub.GroupReads(filter) {
		return true
	}
	all := m.inMemory()
	for _, s := range all {
		s.mu.Lock()
		used := s.durable() && s.subs[filter] != nil
		s.mu.Unlock()
		if used {
			return true
		}
	}
	return false
}
