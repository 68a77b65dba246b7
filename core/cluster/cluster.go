package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Topic is the store's topic that holds the letters.
const Topic = store.OwnPrefix + "control"

const topicQueues = 8

// InboxQueue is the queue that a node reads.
func InboxQueue(node string) string { return topic.InboxQueue(node) }

// Store is what the package needs of the store.
type Store interface {
	Append(ctx context.Context, a store.Append, done func(store.Position, error))
	TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error)
}

// Options configure a Cluster. NodeID, Store, Ensure, Nodes and Yield are required.
type Options struct {
	NodeID string
	Store  Store
	// Ensure makes a topic of the gateway's own, once.
	Ensure func(ctx context.Context, topic string, queues int) error
	// Nodes names the nodes that live as far as metadata knows.
	Nodes func() []string
	// Listed returns how old that knowledge is; nil: it is always new. Every node that serves was listed before.
	Listed func() time.Duration
	// Yield ends the connection of a claim that has lost its client id and puts its session away. ends: the session is over, because the
	// newer one begins anew. It is called in a goroutine of its own, and the claim is released when it returns.
	Yield func(ctx context.Context, cl *Claim, ends bool)
	// Answer answers a question of another node; see Ask. It is called concurrently.
	Answer func(ctx context.Context, from, subject string, body []byte) ([]byte, error)
	// CatchUp reads changes of the metadata that this node may have missed; it may be nil. It is called after the node was fenced and
	// before its sessions go on. It delays them by at most one lease.
	CatchUp func(ctx context.Context) error
	// Unfenced is called when Fenced has become false again; it may be nil.
	Unfenced func()
	// Lease is how long the cluster waits for a node that does not answer; 0: 10 s.
	Lease      time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// instanceSize is the length of what distinguishes one process of a node from another, with which the ids of its claims begin.
const instanceSize = 8

// yieldsMost bounds how many sessions are handed over concurrently.
const yieldsMost = 64

// Cluster is a node's side of the protocol. Life cycle: New, Start, Close.
type Cluster struct {
	o        Options
	log      *slog.Logger
	metrics  *metrics
	instance string
	began    time.Time
	yields   chan struct{}
	failures failures
	asks     chan struct{}
	answers  chan struct{}
	acts     chan struct{}

	ctx    context.Context //nolint:containedctx // ends the cluster's own goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup
	tail   store.Tail

	// ready is closed once the first roll calls are answered.
	ready   chan struct{}
	settled sync.Once
	// shared: there are peers, though perhaps all of them have stopped, or there may be one that this node has not heard of. It is atomic
	// for reads without the mutex.
	shared atomic.Bool
	// freshUntil is the time until which Fenced is false, in nanoseconds since began.
	freshUntil atomic.Int64

	mu      sync.Mutex
	stopped bool
	peers   map[string]*peer
	gones   map[string]time.Time // nodes that said that they are shutting down
	back    bool                 // the metadata lists one of these: it may have been started again
	members []string             // sorted; includes this node
	owners  [buckets]string
	boxes   map[string]*box

	// The claims of this node.
	serial  int64
	claims  map[string]*Claim   // by client id: the newest
	pending map[*Claim]struct{} // the claims that wait

	// What this node knows as the owner of buckets.
	tables [buckets]*table
	calls  int64
	rolls  []*roll
	asking map[*seat]string // seats whose holder was asked to yield to a waiter -> client id

	questions map[string]*question
	answering int
	acting    int // announcements being acted on, for which a SUBSCRIBE waits
	// acted are the announcements that were not acted on yet. Each channel is closed when that is done.
	acted map[chan struct{}]struct{}

	// away: this node goes on without another one, or did until a moment ago.
	away bool
	// waking is this node's own return after it was fenced; readTo is when the latest own letter that it had read by then was sent.
	waking *waking
	readTo time.Time
	// absent: it did not read its inbox for a lease, and has not gone on since.
	absent bool

	// listed is the time at which the metadata's list of nodes was as it is known here.
	listed time.Time
	// fresh is when the latest own letter that was read was sent. wasStale: the node has noticed that it is fenced.
	fresh    time.Time
	wasStale bool
	proof    time.Time // when the last own letter was sent
	proofs   atomic.Int32
}

// New makes a Cluster.
func New(o Options) *Cluster {
	o.Lease = cmp.Or(o.Lease, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Listed == nil {
		o.Listed = func() time.Duration { return 0 }
	}
	c := &Cluster{o: o, log: o.Log, metrics: newMetrics(o.Registerer), instance: rand.Text()[:instanceSize], began: time.Now(),
		listed: time.Now(),
		yields: make(chan struct{}, yieldsMost), ready: make(chan struct{}), peers: map[string]*peer{}, gones: map[string]time.Time{},
		members: []string{o.NodeID}, boxes: map[string]*box{}, claims: map[string]*Claim{}, pending: map[*Claim]struct{}{},
		asking: map[*seat]string{}, questions: map[string]*question{}, acted: map[chan struct{}]struct{}{},
		asks:    make(chan struct{}, asksMost),
		answers: make(chan struct{}, answersMost), acts: make(chan struct{}, answersMost)}
	for b := range buckets {
		c.owners[b] = o.NodeID
	}
	c.freshUntil.Store(math.MaxInt64) // until it is started
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start starts reading the inbox and looking for other nodes. It returns once the live nodes have reported their claims, or after
// startWait.
func (c *Cluster) Start(ctx context.Context) error {
	tail, err := c.open(ctx)
	for errors.Is(err, store.ErrUnavailable) {
		if c.failures.first() {
			c.log.Warn("this node's inbox in the store cannot be read; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
		tail, err = c.open(ctx)
	}
	if err != nil {
		return err
	}
	c.failures.ok()
	c.tail = tail
	c.mu.Lock()
	now := time.Now()
	c.listed = now.Add(-c.o.Listed())
	c.setFresh(now) // it has no claims yet
	c.discover(c.o.Nodes(), now)
	var none bucketSet
	if len(c.peers) == 0 {
		c.settled.Do(func() { close(c.ready) })
	} else { // the roll call also tells other nodes that this node exists
		c.callRoll(none)
	}
	c.mu.Unlock()
	c.wg.Go(c.run)
	select {
	case <-c.ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startWait):
	}
	return nil
}

// open opens the inbox for reading.
func (c *Cluster) open(ctx context.Context) (store.Tail, error) {
	if err := c.o.Ensure(ctx, Topic, topicQueues); err != nil {
		return nil, fmt.Errorf("making topic %q, by which nodes tell one another who is connected: %w", Topic, err)
	}
	tail, err := c.o.Store.TailQueue(ctx, InboxQueue(c.o.NodeID), c.read)
	if err != nil {
		return nil, fmt.Errorf("reading this node's inbox: %w", err)
	}
	return tail, nil
}

// startWait bounds how long a node waits for the others before it serves.
const startWait = 5 * time.Second

// tickEvery is the interval between checks of everything that depends on time.
const tickEvery = 100 * time.Millisecond

func (c *Cluster) run() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		listed, named := now.Add(-c.o.Listed()), c.o.Nodes()
		c.mu.Lock()
		c.listed = listed
		c.tick(named, now)
		c.mu.Unlock()
	}
}

// Members returns the live nodes, including this one, sorted.
func (c *Cluster) Members() []string {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.members...)
}

// Decides reports whether this node decides about a client id, as far as it knows. If all nodes have the same members, exactly one of them
// decides.
func (c *Cluster) Decides(client string) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owners[bucketOf(client)] == c.o.NodeID
}

// closeWait bounds how long Close tries to tell the other nodes.
const closeWait = 3 * time.Second

// Close tells the other nodes that this one is shutting down, and stops. Nothing may be sent after that message: it would make the node a
// member again.
func (c *Cluster) Close() {
	c.mu.Lock()
	for id, p := range c.peers {
		if !p.heard.IsZero() {
			c.post(id, message{Kind: kindBye})
		}
	}
	c.stopped = true
	c.mu.Unlock()
	for until := time.Now().Add(closeWait); time.Now().Before(until) && !c.delivered(); {
		time.Sleep(5 * time.Millisecond)
	}
	c.cancel()
	c.wg.Wait()
	if c.tail != nil {
		c.tail.Close()
	}
}

// delivered reports whether everything was sent.
func (c *Cluster) delivered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.boxes) == 0
}

// failures makes only the first of several failures in a row be logged.
type failures struct{ since atomic.Bool }

func (f *failures) first() bool { return !f.since.Swap(true) }
func (f *failures) ok()         { f.since.Store(false) }
