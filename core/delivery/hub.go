package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// ErrClosed says that the hub is closed.
var ErrClosed = errors.New("delivery is closed")

// Catalog is what delivery needs to know about first-level topics; see package catalog.
type Catalog interface {
	// Topics lists the first-level topics that match filters with a wildcard in the first level.
	Topics() []string
	// Resolve maps the first level of a filter to the store's topic that holds its records. It wraps store.ErrUnknownTopic if there is
	// none.
	Resolve(first string) (string, error)
	// Compatible reports whether gateways that do not know buckets publish as well. Point-to-point messages must then be read from each
	// client's own queue, which costs a long poll for each client and broker.
	Compatible() bool
}

// Options configures a Hub.
type Options struct {
	Store   store.Store
	Catalog Catalog
	Log     *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// MaxBuffered bounds the memory of all windows together, in bytes; 0: 64 MiB.
	MaxBuffered int64
	// MaxBehind bounds how many records a live reader may lag behind; 0: 1,000,000. They cost the node no memory.
	MaxBehind int64
	// Linger is how long a tail keeps running after its last source is gone; 0: 30 s.
	Linger time.Duration
	// Hidden is the visibility timeout of records of shared groups: the store hands a record out again after this time unless this node is
	// still alive and extends it; 0: 30 s.
	Hidden time.Duration
	// Retained is called with each record with the retain flag that a tail brings, before any reader gets the record. It must return
	// quickly; nil: nobody is told.
	Retained func(*store.Record)
	// Verify is how often the end of an idle queue is compared with the store; 0: 60 s.
	Verify time.Duration
	// LookBack bounds how long the first subscription to a topic waits for messages retained just before; 0: 1 s.
	LookBack time.Duration
	// Events takes what durable subscriptions lost; nil: nobody wants to know.
	Events *events.Log
}

// Hub routes records from the tails to the sources of this node. It owns the tails and its background goroutines; Close stops all of them.
type Hub struct {
	store     store.Store
	catalog   Catalog
	log       *slog.Logger
	events    *events.Log
	metrics   *metrics
	budget    int64
	maxBehind int64
	linger    time.Duration
	verify    time.Duration
	hidden    time.Duration
	patience  time.Duration // Options.LookBack
	buffered  atomic.Int64
	ahead     atomic.Int64 // bytes that readers hold in advance
	filters   *topic.Trie[*source]
	retain    func(*store.Record)
	looks     chan struct{} // bounds the concurrent reads of look-backs
	// unverified are the new views that are still to be compared with the store; followUps are those that look for follow-up records.
	unverified, followUps line

	// routing is held for reading while a record is routed, and for writing while a reader of a tail is attached. So each record either
	// lies before a reader's start or reaches the reader. It is taken before the other locks.
	routing sync.RWMutex

	ctx    context.Context //nolint:containedctx // ends the hub's own goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	sources map[string]*source // by filter; point-to-point sources by "\x00" + client id
	tails   map[tailKey]*tail
	groups  map[string]*group // by "$share/group/filter"
	// inGroups counts the groups with members, by the filter that they use and by their own name.
	inGroups map[string]int
	keeping  bool // the goroutine keepGroups is running
	// leftOut are the listed topics that cannot be read.
	leftOut map[string]bool
}

// New makes a Hub. It tails nothing until it is read from.
func New(o Options) *Hub {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hub{
		store: o.Store, catalog: o.Catalog, log: o.Log, events: o.Events,
		budget: o.MaxBuffered, maxBehind: o.MaxBehind, linger: o.Linger, verify: o.Verify, hidden: o.Hidden,
		filters: topic.NewTrie[*source](), retain: o.Retained, looks: make(chan struct{}, lookBackReads),
		unverified: line{most: verifyMost}, followUps: line{most: followUpsMost},
		ctx: ctx, cancel: cancel,
		sources: make(map[string]*source),
		tails:   make(map[tailKey]*tail),
		groups:  make(map[string]*group), inGroups: make(map[string]int),
	}
	h.budget = cmp.Or(h.budget, 64<<20)
	h.maxBehind = cmp.Or(h.maxBehind, 1_000_000)
	h.linger = cmp.Or(h.linger, 30*time.Second)
	h.verify = cmp.Or(h.verify, time.Minute)
	h.hidden = cmp.Or(h.hidden, 30*time.Second)
	h.patience = cmp.Or(o.LookBack, time.Second)
	if h.retain == nil {
		h.retain = func(*store.Record) {}
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.metrics = newMetrics(o.Registerer, h)
	h.wg.Add(1)
	go h.sweep()
	return h
}

// Close stops all tails and background work. Readers that are still open bring nothing more.
func (h *Hub) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	tails := make([]*tail, 0, len(h.tails))
	for _, t := range h.tails {
		if t.timer != nil {
			t.timer.Stop()
		}
		tails = append(tails, t)
	}
	h.mu.Unlock()
	h.stopGroups()
	for _, t := range tails {
		<-t.ready
		if t.t != nil {
			t.t.Close()
		}
	}
	h.wg.Wait()
}

func (h *Hub) overBudget() bool { return h.buffered.Load() > h.budget }

// Live opens a reader that starts at the present end of the records matching a filter. Every record stored after Live returns reaches it.
// Records that this node knew to be stored before do not, except that those with the retain flag are handed out as Item.Early.
func (h *Hub) Live(ctx context.Context, filter string, owner Owner) (*LiveReader, error) {
	return h.openTail(ctx, filter, "", owner, false)
}

// Loose opens a reader like Live, but only for records that are missing from the filter's queue. Records that are in the queue and have the
// retain flag are handed out as Item.Early.
func (h *Hub) Loose(ctx context.Context, filter string, owner Owner) (*LiveReader, error) {
	return h.openTail(ctx, filter, "", owner, true)
}

// LiveP2P opens a reader like Live for point-to-point messages to a client.
func (h *Hub) LiveP2P(ctx context.Context, client string, owner Owner) (*LiveReader, error) {
	return h.openTail(ctx, "", client, owner, false)
}

func (h *Hub) openTail(ctx context.Context, filter, client string, owner Owner, loose bool) (*LiveReader, error) {
	s, err := h.source(ctx, filter, client)
	if err != nil {
		return nil, err
	}
	all := h.ends(s)
	h.routing.Lock()
	defer h.routing.Unlock()
	start, skips := h.starts(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &s.live
	if loose {
		v = &s.loose
	}
	r := &LiveReader{src: s, view: v, owner: owner, loose: loose, seq: v.end(), start: start, skips: skips}
	v.readers, v.newest = append(v.readers, r), start
	return r, nil
}

// Queue opens a reader of one of a filter's queues. start is the offset at which the subscription began, offset the one at which the reader
// begins.
func (h *Hub) Queue(ctx context.Context, filter string, ref store.QueueRef, start, offset int64, owner Owner) (*QueueReader, error) {
	return h.openQueue(ctx, filter, "", ref, start, offset, owner)
}

// QueueP2P opens a reader like Queue for a client's point-to-point queue.
func (h *Hub) QueueP2P(ctx context.Context, client, broker string, start, offset int64, owner Owner) (*QueueReader, error) {
	return h.openQueue(ctx, "", client, store.QueueRef{Queue: topic.P2PQueue(client), Broker: broker}, start, offset, owner)
}

func (h *Hub) openQueue(ctx context.Context, filter, client string, ref store.QueueRef, start, offset int64, owner Owner) (*QueueReader,
	error) {
	cuts := h.store.Cuts(ref.Broker)
	s, err := h.source(ctx, filter, client)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.queues[ref]
	if v == nil {
		v = &queueView{src: s, ref: ref, cuts: cuts}
		if s.queues == nil {
			s.queues = make(map[store.QueueRef]*queueView, 1)
		}
		s.queues[ref] = v
	}
	r := &QueueReader{view: v, owner: owner, start: start, offset: offset, cuts: cuts}
	v.readers = append(v.readers, r)
	return r, nil
}

// source returns the source of a filter or client, with its tails running and one more reference.
func (h *Hub) source(ctx context.Context, filter, client string) (*source, error) {
	key := filter
	if filter == "" {
		key = "\x00" + client
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	s := h.sources[key]
	if s == nil {
		s = &source{hub: h, filter: filter, client: client}
		if filter == "" {
			s.queue = topic.P2PQueue(client)
		} else {
			s.queue, s.root = topic.Queue(filter), topic.HasWildcardFirst(filter)
			h.filters.Add(filter, s)
		}
		h.sources[key] = s
	}
	s.refs++
	h.mu.Unlock()
	if err := h.ensure(ctx, s); err != nil {
		h.release(s)
		return nil, err
	}
	return s, nil
}

// release drops one reference to a source. The last one ends the source.
func (h *Hub) release(s *source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.refs--
	if s.refs > 0 || s.closed {
		return
	}
	s.closed = true
	if s.filter == "" {
		delete(h.sources, "\x00"+s.client)
	} else {
		delete(h.sources, s.filter)
		h.filters.Remove(s.filter, s)
	}
	for _, k := range s.tails {
		h.unref(k)
	}
	s.tails = nil
}

// TopicsChanged tells the hub that the list of first-level topics changed. Sources with a wildcard in the first level then tail the new
// topics too. It returns when those tails run, or with the first error.
func (h *Hub) TopicsChanged(ctx context.Context) error {
	h.mu.Lock()
	var roots []*source
	for _, s := range h.sources {
		if s.filter != "" && topic.HasWildcardFirst(s.filter) {
			s.refs++
			roots = append(roots, s)
		}
	}
	h.mu.Unlock()
	var first error
	for _, s := range roots {
		if err := h.ensure(ctx, s); err != nil && first == nil {
			first = err
		}
		h.release(s)
	}
	return first
}

// route passes records of a first-level topic to the sources whose filters match.
func (h *Hub) route(name string, at *part, p store.Partition, recs []*store.Record) {
	for _, rec := range recs {
		h.routing.RLock()
		at.pass(rec.Position.Offset, rec.Position.Time)
		h.routeOne(name, p, rec)
		h.routing.RUnlock()
	}
	h.metrics.tailed.Add(float64(len(recs)))
}

func (h *Hub) routeOne(name string, p store.Partition, rec *store.Record) {
	if topic.ValidateName(rec.Topic) != nil {
		h.metrics.invalid.Inc() // from a RocketMQ producer; no MQTT client could receive it
		return
	}
	if rec.Retain {
		h.retain(rec)
	}
	if _, p2p := topic.P2PTarget(rec.Topic); p2p {
		return // comes through its bucket
	}
	from := origin{topic: name, partition: p, offset: rec.Position.Offset}
	h.filters.Match(rec.Topic, func(s *source) { s.feed(from, rec) })
}

// routeP2P passes records of a bucket, or of a client's own queue, to the clients that they are addressed to.
func (h *Hub) routeP2P(name string, at *part, p store.Partition, recs []*store.Record) {
	for _, rec := range recs {
		h.routing.RLock()
		if offset, ok := rec.Offset(name); ok {
			at.pass(offset, rec.Position.Time)
		}
		h.routeOneP2P(p, rec)
		h.routing.RUnlock()
	}
	h.metrics.tailed.Add(float64(len(recs)))
}

func (h *Hub) routeOneP2P(p store.Partition, rec *store.Record) {
	client, ok := topic.P2PTarget(rec.Topic)
	if !ok {
		return
	}
	if rec.Retain {
		h.retain(rec)
	}
	h.mu.Lock()
	s := h.sources["\x00"+client]
	h.mu.Unlock()
	if s != nil {
		s.feed(origin{partition: p}, rec)
	}
}

// after runs f in a goroutine of the hub after a delay.
func (h *Hub) after(d time.Duration, f func(ctx context.Context)) {
	time.AfterFunc(d, func() {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return
		}
		h.wg.Add(1)
		h.mu.Unlock()
		defer h.wg.Done()
		f(h.ctx)
	})
}

// lost counts and logs records that retention removed before a durable subscription read them.
func (h *Hub) lost(ref store.QueueRef, from, first int64) {
	h.metrics.expired.Add(float64(first - from))
	h.events.Add(events.Event{Kind: events.MessageDropped, Queue: ref.Queue, Reason: "expired before it was read", Messages: first - from})
	h.log.Warn("records expired before a durable subscription read them; store.local.retention or the broker's fileReservedTime is too short for it",
		"queue", ref.Queue, "broker", ref.Broker, "offset", from, "first", first, "lost", first-from)
}
