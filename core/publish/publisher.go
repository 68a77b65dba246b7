package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/prometheus/client_golang/prometheus"
)

// Metadata is what publishing needs of the metadata.
type Metadata interface {
	// HasTopic reports whether a first-level topic is registered.
	HasTopic(name string) bool
	// AddTopic registers a first-level topic.
	AddTopic(ctx context.Context, name string) error
	// MatchFilters calls fn with the queue of each registered filter that matches a topic name.
	MatchFilters(name string, fn func(queue string))
	// UpstreamNodes lists the gateways of Apache RocketMQ MQTT that are registered.
	UpstreamNodes() []string
}

// Retainer keeps retained messages.
type Retainer interface {
	// Retain sets (or, for an empty payload, removes) the retained message of the message's topic and returns once that is
	// durable. The value with the later position wins.
	Retain(ctx context.Context, m *store.Message, at store.Position) error
}

// DispatchMode says which topics get a queue of their own.
type DispatchMode string

// Dispatch modes, as configured by store.rocketmq.dispatch.
const (
	// Auto is Compatible where gateways of Apache RocketMQ MQTT are registered, else Lean.
	Auto DispatchMode = "auto"
	// Compatible gives every topic a queue.
	Compatible DispatchMode = "compatible"
	// Lean gives a topic a queue when something durable reads it.
	Lean DispatchMode = "lean"
)

// P2PTopic is the first-level topic of point-to-point messages on stores where one queue must be fed by one topic only.
const P2PTopic = "lmqgate_p2p"

// SessionTopic is the topic of what durable sessions keep in the store besides messages.
const SessionTopic = "lmqgate_sessions"

const sessionTopicQueues = 8

// Options configure a Publisher.
type Options struct {
	Store    store.Store
	Meta     Metadata
	Retainer Retainer
	Dispatch DispatchMode
	// AutoCreate makes unknown first-level topics; Queues is how many physical queues they get on each broker.
	AutoCreate bool
	Queues     int
	// Fallback is the store's topic for first levels that the store cannot hold; empty: they are refused.
	Fallback string
	// OnTopicCreated is called after a first-level topic was created and before anything is published to it.
	OnTopicCreated func(ctx context.Context) error
	// Timeout bounds how long a message may take to be stored, retries included; 0: 30 s.
	Timeout    time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Publisher stores messages.
type Publisher struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	known   sync.Map // first level -> *knownTopic
	create  sync.Mutex
	made    sync.Map // the gateway's own topics that are known to exist -> true
	own     ownQueues
	shared  atomic.Pointer[sharedContext]
	base    context.Context //nolint:containedctx // ends appends when the publisher closes
	cancel  context.CancelFunc
}

type knownTopic struct {
	physical string
	err      error
	until    time.Time
}

const (
	knownFor   = 30 * time.Second
	unknownFor = 2 * time.Second
)

// New makes a Publisher.
func New(o Options) *Publisher {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Queues == 0 {
		o.Queues = 4
	}
	if o.Dispatch == "" {
		o.Dispatch = Auto
	}
	p := &Publisher{o: o, log: o.Log, metrics: newMetrics(o.Registerer)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.base, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends what is still being published.
func (p *Publisher) Close() { p.cancel() }

// Resolve returns the store's topic for a first level, from what is known already. It wraps store.ErrUnknownTopic or
// store.ErrInvalidTopic where there is none.
func (p *Publisher) Resolve(first string) (string, error) {
	if k, ok := p.known.Load(first); ok {
		if k := k.(*knownTopic); time.Now().Before(k.until) || k.err == nil { //nolint:forcetypeassert // only knownTopics are stored
			return k.physical, k.err
		}
	}
	physical, err := p.physical(first)
	if err != nil {
		return "", err
	}
	if !p.o.Meta.HasTopic(physical) && physical != p.o.Fallback {
		return "", fmt.Errorf("%w: %q", store.ErrUnknownTopic, first)
	}
	return physical, nil
}

// physical names the store's topic for a first level, whether it exists or not.
func (p *Publisher) physical(first string) (string, error) {
	err := p.o.Store.ValidTopic(first)
	switch {
	case err == nil:
		return strings.Clone(first), nil
	case p.o.Fallback != "":
		return p.o.Fallback, nil
	default:
		return "", err
	}
}

// Ensure returns the store's topic for a first level, asking the store, and creating the topic where that is configured.
func (p *Publisher) Ensure(ctx context.Context, first string) (string, error) {
	var last *knownTopic
	if k, ok := p.known.Load(first); ok {
		last = k.(*knownTopic) //nolint:forcetypeassert // only knownTopics are stored
		if time.Now().Before(last.until) {
			return last.physical, last.err
		}
	}
	physical, err := p.physical(first)
	if err == nil {
		err = p.find(ctx, physical)
	}
	if err != nil && !Refused(err) && last != nil && last.err == nil {
		return last.physical, nil // the store cannot be asked now; an append waits for it, and says when the topic is gone
	}
	k := &knownTopic{physical: physical, err: err, until: time.Now().Add(knownFor)}
	if err != nil {
		k.until = time.Now().Add(unknownFor)
		if !Refused(err) {
			return physical, err // not known to be unknown
		}
	}
	p.known.Store(strings.Clone(first), k) // it may share its memory with a payload
	return physical, err
}

// find makes sure that the store has a topic.
func (p *Publisher) find(ctx context.Context, name string) error {
	_, err := p.o.Store.Topic(ctx, name)
	if err == nil && (p.o.Meta.HasTopic(name) || !p.o.AutoCreate) {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrUnknownTopic) {
		return err
	}
	if err != nil && !p.o.AutoCreate && name != p.o.Fallback {
		p.log.Warn("unknown first-level topic; create it with: lmqgate topic create NAME", "topic", name)
		return err
	}
	return p.Create(ctx, name, p.o.Queues)
}

// Create makes a first-level topic in the store and registers it. It is no error that it exists already.
func (p *Publisher) Create(ctx context.Context, name string, queues int) error {
	p.create.Lock()
	defer p.create.Unlock()
	if err := p.o.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	if err := p.o.Meta.AddTopic(ctx, name); err != nil {
		return fmt.Errorf("registering first-level topic %q: %w", name, err)
	}
	p.known.Store(name, &knownTopic{physical: name, until: time.Now().Add(knownFor)})
	if p.o.OnTopicCreated != nil {
		return p.o.OnTopicCreated(ctx)
	}
	return nil
}

// Forget drops what is known of a first-level topic, after it was deleted.
func (p *Publisher) Forget(first string) { p.known.Delete(first) }

// Refused reports whether an error means that a message can never be stored, so that trying again does not help.
func Refused(err error) bool {
	return errors.Is(err, store.ErrUnknownTopic) || errors.Is(err, store.ErrInvalidTopic) || errors.Is(err, store.ErrTooLarge)
}

// Compatible reports whether every topic gets a queue of its own now.
func (p *Publisher) Compatible() bool {
	switch p.o.Dispatch {
	case Compatible:
		return true
	case Lean:
		return false
	default:
		return len(p.o.Meta.UpstreamNodes()) > 0
	}
}

// Physical returns the store's topic that messages to a topic name go to.
func (p *Publisher) Physical(ctx context.Context, name string) (string, error) {
	physical, err := p.Ensure(ctx, topic.First(name))
	if err != nil {
		return "", err
	}
	if _, ok := topic.P2PTarget(name); ok && p.o.Store.Limits().SingleFeeder {
		return P2PTopic, p.ensureOwn(ctx, P2PTopic, 1)
	}
	return physical, nil
}

// dispatch returns the store's topic and the dispatch set of a message of a client.
func (p *Publisher) dispatch(ctx context.Context, client string, m *store.Message) (string, []string, error) {
	name := m.Topic
	physical, err := p.Physical(ctx, name)
	if err != nil {
		return "", nil, err
	}
	var exchange []string
	if m.Exchange != "" {
		exchange = []string{topic.ExchangeQueue(physical, client)}
	}
	if client, ok := topic.P2PTarget(name); ok {
		return physical, append(exchange, topic.P2PQueue(client), topic.P2PBucket(client)), nil
	}
	var queues []string
	own := topic.Queue(name)
	single := p.o.Store.Limits().SingleFeeder
	if p.Compatible() {
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
	return physical, append(queues, exchange...), nil
}

// ensureOwn makes a topic of the gateway's own, once.
func (p *Publisher) ensureOwn(ctx context.Context, name string, queues int) error {
	if _, ok := p.made.Load(name); ok {
		return nil
	}
	if err := p.o.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	p.made.Store(name, true)
	return nil
}

// sharedContext is a deadline that the appends of a few seconds share, because a timer for each costs more than an append.
type sharedContext struct {
	ctx   context.Context //nolint:containedctx // see above
	stale time.Time
}

// deadline returns a context that ends when a message that begins now has taken too long.
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
