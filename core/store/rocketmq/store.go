package rocketmq

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/repeat"
	"github.com/lmqgate/lmqgate/remoting"
)

// Options configures a Store.
type Options struct {
	// Namesrv are the addresses of the name servers, host:port; at least one.
	Namesrv []string
	// AccessKey, SecretKey and SecurityToken sign every request if the cluster uses RocketMQ's ACL; empty: no signatures.
	AccessKey, SecretKey, SecurityToken string
	// TLS turns on TLS for every connection; nil: no TLS.
	TLS *tls.Config
	// NodeID names this node to the brokers.
	NodeID string
	// Producer selects what sends messages: ProducerRemoting (the default) or ProducerClientGo.
	Producer string
	// Fallback is the topic for the records of first levels that RocketMQ does not accept as topic names; empty: none.
	Fallback string
	// Events is the topic that holds the gateway's own events, which are below topic.Events; empty for none.
	Events string
	// MaxInFlight bounds the appends in flight; 0: 1024. RocketMQ refuses many more than that.
	MaxInFlight int
	// SendTimeout bounds one attempt to send; 0: 3 s.
	SendTimeout time.Duration
	// RequestTimeout bounds each other request; 0: 3 s.
	RequestTimeout time.Duration
	Log            *slog.Logger
	Registerer     prometheus.Registerer
}

// The producers.
const (
	// ProducerRemoting sends with package remoting.
	ProducerRemoting = "remoting"
	// ProducerClientGo sends with the producer of rocketmq-client-go.
	ProducerClientGo = "client-go"
)

// Remoting returns the configuration of connections.
func (o Options) Remoting() remoting.Config {
	return remoting.Config{
		Credentials: remoting.Credentials{AccessKey: o.AccessKey, SecretKey: o.SecretKey, SecurityToken: o.SecurityToken},
		TLS:         o.TLS, Log: o.Log, RequestTimeout: o.RequestTimeout,
	}
}

// Store stores messages in RocketMQ.
type Store struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	client  *remoting.Client
	routes  *routes
	sender  sender
	ids     *ids
	epochs  epochs
	suspect suspects
	breaks  breaks
	own     own
	hints   hints
	// lineages are those of the brokers' logs.
	lineages lineages
	// ownTopics are those of the gateway's own that every broker should have.
	ownTopics ownTopics
	// process tells the marks that this store has made from others.
	process string
	repeat  *repeat.Log

	inflating inflating

	// slots holds one token for each append in flight.
	slots chan struct{}

	// base ends when the store closes. Appends, tails and the watcher derive their contexts from it.
	base context.Context
	stop context.CancelFunc

	mu      sync.Mutex
	started bool
	closed  bool
	wg      sync.WaitGroup // appends in flight, tails, the watcher
}

var _ store.Store = (*Store)(nil)

// New makes a store. It does not connect to anything.
func New(o Options) (*Store, error) {
	if len(o.Namesrv) == 0 {
		return nil, errors.New("store.rocketmq.namesrv is empty: name at least one name server, host:port")
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return nil, errors.New("store.rocketmq: access_key and secret_key are only good together: set both or none")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 1024
	}
	if o.Producer == "" {
		o.Producer = ProducerRemoting
	}
	if o.SendTimeout <= 0 {
		o.SendTimeout = 3 * time.Second
	}
	s := &Store{
		opts: o, log: o.Log, metrics: newMetrics(o.Registerer), ids: newIDs(), process: rand.Text()[:8],
		slots: make(chan struct{}, o.MaxInFlight),
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.client = remoting.New(o.Remoting())
	s.breaks.log = o.Log
	s.repeat = repeat.New(o.Log, 0)
	s.routes = &routes{client: s.client, namesrvs: o.Namesrv, log: o.Log, base: s.base, joined: s.joined}
	var err error
	if s.sender, err = newSender(o); err != nil {
		s.stop()
		_ = s.client.Close()
		return nil, fmt.Errorf("make the RocketMQ producer: %w", err)
	}
	return s, nil
}

// joined is called when a broker registers for the first time, or at another address: a slave has become the master.
func (s *Store) joined(broker string) {
	s.breaks.back(broker)
	s.spread(broker)
}

// Start implements store.Store.
func (s *Store) Start(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	if s.started {
		return errors.New("the RocketMQ store is already started")
	}
	if err := s.sender.start(); err != nil {
		return fmt.Errorf("start the RocketMQ producer: %w", err)
	}
	s.started = true
	s.wg.Go(s.watch)
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	started := s.started
	s.mu.Unlock()
	defer s.repeat.Close()
	s.stop()
	if s.opts.Producer == ProducerRemoting {
		s.sender.close() // ends what is in flight
		s.wg.Wait()
	} else {
		s.wg.Wait()
		if started {
			s.sender.close()
		}
	}
	return s.client.Close()
}

// begin registers a user of the store, unless the store is closed or not started. Each successful begin needs an end.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return store.ErrClosed
	case !s.started:
		return fmt.Errorf("%w: the store is not started", store.ErrUnavailable)
	}
	s.wg.Add(1)
	return nil
}

func (s *Store) end() { s.wg.Done() }

// watch keeps the state of the cluster fresh. It logs when the cluster becomes reachable or unreachable, and what its brokers cannot do.
func (s *Store) watch() {
	reachable, warned := true, false
	off := ""
	for {
		st, err := s.routes.refreshCluster(s.base)
		if err == nil {
			s.routes.recheck(s.base)
			st = s.routes.cluster.Load()
			off = s.sayQueues(st, off)
		}
		switch {
		case s.base.Err() != nil:
			return
		case err != nil && reachable:
			s.log.Warn("RocketMQ cannot be reached, trying on", "namesrv", s.opts.Namesrv, "error", err)
		case err == nil && len(st.names) == 0 && reachable:
			s.log.Warn("no RocketMQ broker is registered, trying on", "namesrv", s.opts.Namesrv)
		case err == nil && len(st.names) > 0 && !reachable:
			s.log.Info("RocketMQ can be reached again", "brokers", st.names)
		}
		reachable = err == nil && len(st.names) > 0
		if reachable && !warned && s.Limits().SingleFeeder && st.versionsKnown() {
			warned = true
			s.warnSingleFeeder(st)
		}
		wait := routeAge
		if !reachable {
			wait = time.Second
		}
		select {
		case <-s.base.Done():
			return
		case <-time.After(wait):
		}
	}
}

// sayQueues logs when brokers without light message queues appear, and when none is left. last is its previous result.
func (s *Store) sayQueues(st *clusterState, last string) string {
	off := strings.Join(st.withoutQueues(), "; ")
	switch {
	case off == last:
	case off != "":
		s.log.Error("RocketMQ cannot keep messages for sleeping sessions and shared groups", "reason", off)
	default:
		s.log.Info("all RocketMQ brokers have light message queues")
	}
	return off
}

// warnSingleFeeder logs the consequences of a broker below 5.2.0, and which topics are unsafe for other producers.
func (s *Store) warnSingleFeeder(st *clusterState) {
	var several []string
	if topics, err := s.Topics(s.base); err == nil {
		for _, t := range topics {
			if t.Queues > 1 {
				several = append(several, t.Name)
			}
		}
	}
	s.log.Warn("RocketMQ below 5.2.0 loses queue entries when several physical queues feed one light message queue "+
		"(apache/rocketmq #7511): messages of a topic go to one queue a broker; upgrade to 5.2.0 or later",
		"brokers", st.names, "topics with several queues, unsafe for other producers", several)
}

func (st *clusterState) versionsKnown() bool {
	for _, b := range st.brokers {
		if b.version == 0 {
			return false
		}
	}
	return len(st.brokers) > 0
}

// Ready implements store.Store.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	st, err := s.routes.current(ctx, 2*time.Second)
	switch {
	case err != nil:
		return unavailable("RocketMQ is not ready", err)
	case len(st.names) == 0:
		return fmt.Errorf("RocketMQ is not ready: %w: no broker is registered", store.ErrUnavailable)
	}
	if off := st.withoutQueues(); len(off) > 0 {
		return fmt.Errorf("RocketMQ is not ready: %w: %s", store.ErrUnavailable, strings.Join(off, "; "))
	}
	for _, b := range st.brokers {
		if b.version != 0 {
			return nil
		}
	}
	return fmt.Errorf("RocketMQ is not ready: %w: no broker answers", store.ErrUnavailable)
}

// Limits implements store.Store. Before the brokers are known, it assumes the worst.
func (s *Store) Limits() store.Limits {
	l := store.Limits{SingleFeeder: true, DirectoryPerQueue: true}
	if st := s.routes.cluster.Load(); st != nil && len(st.names) > 0 {
		l.SingleFeeder = false
		for _, name := range st.names {
			l.SingleFeeder = l.SingleFeeder || st.singleFeeder(name)
		}
	}
	return l
}
