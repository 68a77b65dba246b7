package catalog

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
)

// Store is what the catalog needs of the store; see store.Store for the contracts.
type Store interface {
	ValidTopic(name string) error
	Topic(ctx context.Context, name string) (store.TopicInfo, error)
	CreateTopic(ctx context.Context, name string, queues int) error
	DeleteTopic(ctx context.Context, name string) error
	Limits() store.Limits
}

// Metadata is what the catalog needs of the metadata.
type Metadata interface {
	// Topics lists the registered first-level topics, sorted.
	Topics() []string
	// HasTopic reports whether a first-level topic is registered.
	HasTopic(name string) bool
	// AddTopic registers a first-level topic.
	AddTopic(ctx context.Context, name string) error
	// RemoveTopic drops the registration of a first-level topic.
	RemoveTopic(ctx context.Context, name string) error
	// UpstreamNodes lists the gateways of Apache RocketMQ MQTT that are registered.
	UpstreamNodes() []string
}

// Watcher is told when the set of first-level topics changes.
type Watcher interface {
	// TopicsChanged returns once the watcher has acted on the change, or with the reason why it could not. A new topic takes no
	// message of this node before.
	TopicsChanged(ctx context.Context) error
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
const P2PTopic = store.OwnPrefix + "p2p"

// Options configure a Catalog.
type Options struct {
	Store Store
	Meta  Metadata
	// Dispatch is Auto where it is empty.
	Dispatch DispatchMode
	// AutoCreate makes unknown first-level topics; Queues is how many physical queues they get on each broker; 0: 4.
	AutoCreate bool
	Queues     int
	// Fallback is the store's topic for first levels that the store cannot hold; empty: they are refused.
	Fallback string
	Log      *slog.Logger
}

// Catalog maps first-level topics to topics of the store. It is safe for concurrent use and owns no goroutine.
type Catalog struct {
	o       Options
	log     *slog.Logger
	known   known
	refused refused
	own     sync.Map // the gateway's own topics that are known to exist -> true
	// creating is held by the call that creates or deletes a topic.
	creating chan struct{}

	watchersMu sync.RWMutex
	watchers   []Watcher
}

// knownFor is how long the catalog does not ask the store about a topic again.
const knownFor = 30 * time.Second

// New makes a Catalog.
func New(o Options) *Catalog {
	if o.Queues == 0 {
		o.Queues = 4
	}
	if o.Dispatch == "" {
		o.Dispatch = Auto
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Catalog{o: o, log: o.Log, creating: make(chan struct{}, 1)}
}

// Watch adds a watcher.
func (c *Catalog) Watch(w Watcher) {
	c.watchersMu.Lock()
	defer c.watchersMu.Unlock()
	c.watchers = append(c.watchers, w)
}

// Changed says that the metadata's set of first-level topics changed: refused names are looked at again, and the watchers are
// told.
func (c *Catalog) Changed(ctx context.Context) error {
	c.refused.clear()
	return c.tell(ctx)
}

func (c *Catalog) tell(ctx context.Context) error {
	c.watchersMu.RLock()
	watchers := c.watchers
	c.watchersMu.RUnlock()
	var errs []error
	for _, w := range watchers {
		errs = append(errs, w.TopicsChanged(ctx))
	}
	return errors.Join(errs...)
}

// Topics lists the registered first-level topics, sorted. The slice must not be changed.
func (c *Catalog) Topics() []string { return c.o.Meta.Topics() }

// Compatible reports whether every topic gets a queue of its own now.
func (c *Catalog) Compatible() bool {
	switch c.o.Dispatch {
	case Compatible:
		return true
	case Lean:
		return false
	default:
		return len(c.o.Meta.UpstreamNodes()) > 0
	}
}

// Resolve returns the store's topic for a first level, from what is known already. It wraps store.ErrUnknownTopic or
// store.ErrInvalidTopic where there is none.
func (c *Catalog) Resolve(first string) (string, error) {
	if k := c.known.get(first); k != nil {
		return k.name, nil
	}
	physical, err := c.physical(first)
	if err != nil {
		return "", err
	}
	if k := c.known.get(physical); k != nil {
		return k.name, nil
	}
	if err := c.refused.get(physical); err != nil {
		return "", err
	}
	if !c.o.Meta.HasTopic(physical) && physical != c.o.Fallback {
		return "", fmt.Errorf("%w: %q", store.ErrUnknownTopic, first)
	}
	return strings.Clone(physical), nil
}

// physical names the store's topic for a first level, whether it exists or not. It may share its memory with first.
func (c *Catalog) physical(first string) (string, error) {
	err := c.o.Store.ValidTopic(first)
	switch {
	case err == nil:
		return first, nil
	case c.o.Fallback != "":
		return c.o.Fallback, nil
	default:
		return "", err
	}
}

// Ensure returns the store's topic for a first level. It asks the store, and creates the topic where that is configured.
func (c *Catalog) Ensure(ctx context.Context, first string) (string, error) {
	last := c.known.get(first)
	if last != nil && time.Now().Before(last.until) {
		return last.name, nil
	}
	physical, err := c.physical(first)
	if err != nil {
		return "", err
	}
	if physical != first {
		if last = c.known.get(physical); last != nil && time.Now().Before(last.until) {
			return last.name, nil
		}
	}
	if err := c.refused.get(physical); err != nil {
		return "", err
	}
	switch err := c.find(ctx, physical); {
	case err == nil:
		return c.known.put(physical).name, nil
	case errors.Is(err, store.ErrUnknownTopic) || errors.Is(err, store.ErrInvalidTopic):
		c.known.drop(physical)
		c.refused.add(physical, err)
		return "", err
	case last != nil:
		return last.name, nil // the store cannot be asked now; an append waits for it, and says when the topic is gone
	default:
		return "", err // not known to be unknown
	}
}

// find makes sure that the store has a topic.
func (c *Catalog) find(ctx context.Context, name string) error {
	_, err := c.o.Store.Topic(ctx, name)
	if err == nil && (c.o.Meta.HasTopic(name) || !c.o.AutoCreate) {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrUnknownTopic) {
		return err
	}
	if err != nil && !c.o.AutoCreate && name != c.o.Fallback {
		c.log.Warn("unknown first-level topic; create it with: lmqgate topic create NAME", "topic", name)
		return err
	}
	release, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	if k := c.known.get(name); k != nil && time.Now().Before(k.until) {
		return nil // another message has created it meanwhile
	}
	return c.create(ctx, name, c.o.Queues)
}

// begin waits for its turn to create or delete a topic.
func (c *Catalog) begin(ctx context.Context) (release func(), err error) {
	select {
	case c.creating <- struct{}{}:
		return func() { <-c.creating }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting until another topic is created or deleted: %w", ctx.Err())
	}
}

// Physical returns the store's topic that messages to a topic name go to, as Ensure does.
func (c *Catalog) Physical(ctx context.Context, name string) (string, error) {
	physical, err := c.Ensure(ctx, topic.First(name))
	if err != nil {
		return "", err
	}
	if _, ok := topic.P2PTarget(name); ok && c.o.Store.Limits().SingleFeeder {
		return P2PTopic, c.EnsureOwn(ctx, P2PTopic, 1)
	}
	return physical, nil
}

// Create makes a first-level topic in the store, registers it and tells the watchers. queues is the number of physical queues on
// each broker; 0: as configured. It is no error that the topic exists already.
func (c *Catalog) Create(ctx context.Context, name string, queues int) error {
	if queues == 0 {
		queues = c.o.Queues
	}
	release, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.create(ctx, name, queues)
}

// create is Create by the caller whose turn it is.
func (c *Catalog) create(ctx context.Context, name string, queues int) error {
	name = strings.Clone(name) // it may share its memory with a payload
	if err := c.o.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	if err := c.o.Meta.AddTopic(ctx, name); err != nil {
		return fmt.Errorf("registering first-level topic %q: %w", name, err)
	}
	c.refused.clear()
	if err := c.tell(ctx); err != nil {
		return err
	}
	c.known.put(name)
	return nil
}

// Delete removes a first-level topic: its registration, and its records in the store. It wraps store.ErrUnknownTopic where there
// is no such topic.
func (c *Catalog) Delete(ctx context.Context, name string) error {
	release, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = c.o.Store.Topic(ctx, name)
	if errors.Is(err, store.ErrUnknownTopic) && !c.o.Meta.HasTopic(name) {
		return err
	}
	if err := c.o.Meta.RemoveTopic(ctx, name); err != nil {
		return fmt.Errorf("removing the registration of first-level topic %q: %w", name, err)
	}
	defer c.Forget(name) // a message may have asked for it meanwhile
	c.Forget(name)
	return c.o.Store.DeleteTopic(ctx, name)
}

// Forget drops what is known of a first-level topic, so that the store is asked again.
func (c *Catalog) Forget(first string) { c.known.drop(first) }

// EnsureOwn makes a topic of the gateway's own (store.OwnPrefix), once.
func (c *Catalog) EnsureOwn(ctx context.Context, name string, queues int) error {
	if _, ok := c.own.Load(name); ok {
		return nil
	}
	if err := c.o.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	c.own.Store(name, true)
	return nil
}

// known holds the topics that the store has. Those whose time is over stay: they are used while the store cannot be asked.
type known struct {
	topics sync.Map // name -> *knownTopic
	count  atomic.Int64
}

type knownTopic struct {
	name  string
	until time.Time
}

// maxKnown bounds the topics that are known. Past it any one is dropped for a new one and costs a question to the store again.
const maxKnown = 100_000

func (k *known) get(name string) *knownTopic {
	if t, ok := k.topics.Load(name); ok {
		return t.(*knownTopic) //nolint:forcetypeassert // it holds nothing else
	}
	return nil
}

func (k *known) put(name string) *knownTopic {
	name = strings.Clone(name) // it may share its memory with a payload
	t := &knownTopic{name: name, until: time.Now().Add(knownFor)}
	if _, had := k.topics.Swap(name, t); had {
		return t
	}
	if k.count.Add(1) > maxKnown {
		k.topics.Range(func(other, _ any) bool {
			if other == name {
				return true
			}
			k.drop(other.(string)) //nolint:forcetypeassert // names are strings
			return false
		})
	}
	return t
}

func (k *known) drop(name string) {
	if _, had := k.topics.LoadAndDelete(name); had {
		k.count.Add(-1)
	}
}
