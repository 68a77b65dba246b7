package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/prometheus/client_golang/prometheus"
)

// Catalog is what publishing needs to know about first-level topics; see package catalog.
type Catalog interface {
	Physical(ctx context.Context, name string, by topic.Maker) (string, error)
	EnsureOwn(ctx context.Context, name string, queues int) error
	Forget(name string)
	Compatible() bool
}

// Metadata is the part of the metadata that publishing uses.
type Metadata interface {
	// MatchFilters calls fn with the queue of each registered filter that matches a topic name.
	MatchFilters(name string, fn func(queue string))
}

// Retainer stores retained messages.
type Retainer interface {
	// Retain sets (for an empty payload: removes) the retained message of the message's topic, and returns once that is durable. The value
	// with the later position wins.
	Retain(ctx context.Context, m *store.Message, at store.Position) error
	// Room returns nil if a message could be retained now; otherwise the reason. It writes nothing.
	Room(m *store.Message) error
}

// Options configures a Publisher.
type Options struct {
	Store    store.Store
	Catalog  Catalog
	Meta     Metadata
	Retainer Retainer
	// Events is the store's topic of the gateway's own events, with EventQueues physical queues on each broker where it is made; empty:
	// there are none. EventsShown: clients may subscribe to them.
	Events      string
	EventQueues int
	EventsShown bool
	// Held reports whether the gateway itself may not publish for now; nil: it always may.
	Held func() bool
	// Timeout bounds how long storing a message may take, including retries; 0: 30 s.
	Timeout time.Duration
	// Spans traces messages; nil: nothing is traced.
	Spans      *tracing.Tracer
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Publisher stores messages.
type Publisher struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	lanes   *lanes
	own     ownQueues
	shared  atomic.Pointer[sharedContext]
	base    context.Context //nolint:containedctx // ends appends when the publisher closes
	cancel  context.CancelFunc
}

// New makes a Publisher.
func New(o Options) *Publisher {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	p := &Publisher{o: o, log: o.Log, metrics: newMetrics(o.Registerer), lanes: newLanes()}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.base, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close aborts the messages still being published.
func (p *Publisher) Close() { p.cancel() }

// Refused reports whether an error means that a message can never be stored, so that a retry does not help.
func Refused(err error) bool {
	return errors.Is(err, store.ErrUnknownTopic) || errors.Is(err, store.ErrInvalidTopic) || errors.Is(err, store.ErrTooLarge)
}

// Room returns nil if there is room to retain a message, or it need not be retained. Otherwise the error wraps ErrNoRoom.
func (p *Publisher) Room(m *store.Message) error {
	if !m.Retain {
		return nil
	}
	if err := p.o.Retainer.Room(m); err != nil {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return nil
}

// open returns nil if clients may publish to a topic name.
func (p *Publisher) open(name string) error {
	if topic.IsOwn(name) {
		return fmt.Errorf("%w: topics below $SYS/broker are the gateway's own", store.ErrInvalidTopic)
	}
	return p.keepOut(name)
}

// dispatch returns the store's topic and the dispatch set of a message whose topic name is open. It may create the topic on behalf of by.
func (p *Publisher) dispatch(ctx context.Context, by topic.Maker, m *store.Message) (string, []string, error) {
	name := m.Topic
	physical, err := p.o.Catalog.Physical(ctx, name, by)
	if err != nil {
		return "", nil, err
	}
	var exchange []string
	if m.Exchange != "" {
		exchange = []string{topic.ExchangeQueue(physical, by.Client)}
	}
	if client, ok := topic.P2PTarget(name); ok {
		return physical, append(exchange, topic.P2PQueue(client), topic.P2PBucket(client)), nil
	}
	return physical, append(p.queues(physical, name), exchange...), nil
}

// queues are those of a topic name's own queue, if it has one, and of the filters that match it.
func (p *Publisher) queues(physical, name string) (queues []string) {
	own := topic.Queue(name)
	single := p.o.Store.Limits().SingleFeeder
	if p.o.Catalog.Compatible() {
		queues = append(queues, own)
		if p.o.Store.Limits().DirectoryPerQueue {
			p.own.add(own, p.log)
		}
	}
	p.o.Meta.MatchFilters(name, func(q string) {
		if len(queues) > 0 && q == own && queues[0] == own {
			return
		}
		if single && topic.IsRootQueue(q) {
			q = topic.RootQueue(physical, q)
		}
		queues = append(queues, q)
	})
	return queues
}

// sharedContext is a deadline shared by the appends of a few seconds: a timer for each append would cost more than the append.
type sharedContext struct {
	ctx   context.Context //nolint:containedctx // see above
	stale time.Time
}

// deadline returns a context that ends when a message that is published now has taken too long.
func (p *Publisher) deadline() context.Context {
	s := p.shared.Load()
	if now := time.Now(); s == nil || now.After(s.stale) {
		ctx, cancel := context.WithTimeout(p.base, p.o.Timeout)
		context.AfterFunc(ctx, cancel)
		s = &sharedContext{ctx: ctx, stale: now.Add(p.o.Timeout / 8)}
		p.shared.Store(s)
	}
	return s.ctx
}
