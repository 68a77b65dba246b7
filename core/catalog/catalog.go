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
	"unicode/utf8"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Store is what the catalog needs from the store; see store.Store for the contracts.
type Store interface {
	ValidTopic(name string) error
	Topic(ctx context.Context, name string) (store.TopicInfo, error)
	CreateTopic(ctx context.Context, name string, queues int) error
	DeleteTopic(ctx context.Context, name string) error
	Limits() store.Limits
}

// Metadata is what the catalog needs from the metadata.
type Metadata interface {
	// Topics lists the registered first-level topics, sorted.
	Topics() []string
	// HasTopic reports whether a first-level topic is registered.
	HasTopic(name string) bool
	// ClaimTopic makes room for a first-level topic that is about to be made, or says why there is none. The caller calls release once
	// MakeTopic has returned, or is not called after all. A registered topic needs no room.
	ClaimTopic(name string, by topic.Maker) (release func(), err error)
	// MakeTopic registers a first-level topic, for which there is room.
	MakeTopic(ctx context.Context, name string, by topic.Maker) error
	// RemoveTopic drops the registration of a first-level topic.
	RemoveTopic(ctx context.Context, name string) error
	// UpstreamNodes lists the registered gateways of Apache RocketMQ MQTT.
	UpstreamNodes() []string
}

// Watcher is notified when the set of first-level topics changes.
type Watcher interface {
	// TopicsChanged returns once the watcher has acted on the change, or an error if it could not. Until it returns, this node stores no
	// message in a new topic.
	TopicsChanged(ctx context.Context) error
}

// DispatchMode says which topics get a queue of their own.
type DispatchMode string

// Dispatch modes, as configured by store.rocketmq.dispatch.
const (
	// Auto is Compatible while gateways of Apache RocketMQ MQTT are registered, otherwise Lean.
	Auto DispatchMode = "auto"
	// Compatible gives every topic a queue.
	Compatible DispatchMode = "compatible"
	// Lean gives a topic a queue only if something durable reads it.
	Lean DispatchMode = "lean"
)

// P2PTopic is the topic of point-to-point messages on stores where only one topic may feed a queue.
const P2PTopic = store.OwnPrefix + "p2p"

// Options configure a Catalog.
type Options struct {
	Store Store
	Meta  Metadata
	// Dispatch is the dispatch mode; empty: Auto.
	Dispatch DispatchMode
	// AutoCreate creates unknown first-level topics that clients use. Queues is the number of physical queues that they get on each broker;
	// 0: 4.
	AutoCreate bool
	Queues     int
	// Fallback is the store's topic for first levels that are no valid topic of the store; empty: they are refused.
	Fallback string
	// Events is the store's topic of what lies below topic.Events, the gateway's own events; empty: there are none, or clients may not
	// have them.
	Events string
	Log    *slog.Logger
}

// Catalog maps first-level topics to topics of the store. It is safe for concurrent use and owns no goroutine.
type Catalog struct {
	o       Options
	log     *slog.Logger
	known   known
	refused refused
	own     sync.Map // the gateway's own topics that are known to exist -> true
	// creating is a lock of the call that creates or deletes a topic.
	creating chan struct{}

	watchersMu sync.RWMutex
	watchers   []Watcher
}

// knownFor is how long the catalog trusts that a topic exists before it asks the store again.
const knownFor = 30 * time.Second

// maxMadeName is the length of the longest name of a first-level topic that a client can make, in characters. It is RocketMQ's bound.
const maxMadeName = 127

// ErrTooManyTopics says that there is no room for another first-level topic. It is wrapped with the reason.
var ErrTooManyTopics = errors.New("no first-level topic can be made")

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

// Changed announces that the metadata's set of first-level topics changed: it clears the negative cache and notifies the watchers.
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

// Topics lists the registered first-level topics, sorted. The slice must not be modified.
func (c *Catalog) Topics() []string { return c.o.Meta.Topics() }

// Compatible reports whether every topic currently gets a queue of its own.
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

// Resolve returns the store's topic for a first level, without asking the store. If there is none, the error wraps store.ErrUnknownTopic or
// store.ErrInvalidTopic.
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
	if !c.o.Meta.HasTopic(physical) && physical != c.o.Fallback && physical != c.o.Events {
		return "", fmt.Errorf("%w: %q", store.ErrUnknownTopic, first)
	}
	return strings.Clone(physical), nil
}

// physical returns the name of the store's topic for a first level, whether it exists or not. The name may share memory with first.
func (c *Catalog) physical(first string) (string, error) {
	if first == topic.Events && c.o.Events != "" {
		return c.o.Events, nil
	}
	err := c.o.Store.ValidTopic(first)
	if err == nil && c.o.AutoCreate && len(first) > maxMadeName {
		if n := utf8.RuneCountInString(first); n > maxMadeName && !c.o.Meta.HasTopic(first) {
			err = fmt.Errorf("%w: a first-level topic that is made on first use has at most %d characters, not %d", store.ErrInvalidTopic,
				maxMadeName, n)
		}
	}
	switch {
	case err == nil:
		return first, nil
	case c.o.Fallback != "":
		return c.o.Fallback, nil
	default:
		return "", err
	}
}

// Ensure returns the store's topic for a first level. It asks the store, and creates the topic on behalf of by if so configured. If there
// is none, the error wraps store.ErrUnknownTopic or store.ErrInvalidTopic, or ErrTooManyTopics if it could be created but for the room.
func (c *Catalog) Ensure(ctx context.Context, first string, by topic.Maker) (string, error) {
	return c.ensure(ctx, first, by, true)
}

// Check returns nil if Ensure would succeed now, otherwise its error. It creates nothing and keeps no room.
func (c *Catalog) Check(ctx context.Context, first string, by topic.Maker) error {
	_, err := c.ensure(ctx, first, by, false)
	return err
}

// ensure is Ensure, or Check unless the topic may be created.
func (c *Catalog) ensure(ctx context.Context, first string, by topic.Maker, create bool) (string, error) {
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
	there, err := c.find(ctx, physical, by, create)
	switch {
	case err == nil && !there:
		return physical, nil
	case err == nil:
		return c.known.put(physical).name, nil
	case errors.Is(err, store.ErrUnknownTopic) || errors.Is(err, store.ErrInvalidTopic):
		c.known.drop(physical)
		if !c.o.AutoCreate || by.Known() { // otherwise the next caller may create it
			c.refused.add(physical, err)
		}
		return "", err
	case errors.Is(err, ErrTooManyTopics):
		c.known.drop(physical)
		return "", err // not kept: the room of another client is another
	case last != nil:
		return last.name, nil // the store is unavailable; an append waits for it, and fails if the topic is gone
	default:
		return "", err // not known to be unknown
	}
}

// find checks that the store has a topic. If not, and if so configured, it creates the topic, or only looks whether there is room for it.
// there reports whether the topic exists now.
func (c *Catalog) find(ctx context.Context, name string, by topic.Maker, create bool) (there bool, err error) {
	if c.o.Events != "" && name == c.o.Events {
		return true, c.EnsureOwn(ctx, name, c.o.Queues)
	}
	fallback := name == c.o.Fallback
	if fallback {
		by = topic.Maker{Operator: true} // who configured it
	}
	creates := c.o.AutoCreate && by.Known()
	if creates && !c.o.Meta.HasTopic(name) { // before the store is asked: a client without room costs it nothing
		release, err := c.claim(name, by)
		if err != nil {
			return false, err
		}
		release()
	}
	_, err = c.o.Store.Topic(ctx, name)
	if err == nil && (c.o.Meta.HasTopic(name) || !creates) {
		return true, nil
	}
	if err != nil && !errors.Is(err, store.ErrUnknownTopic) {
		return false, err
	}
	if err != nil && !creates && !fallback {
		if !c.o.AutoCreate {
			c.log.Warn("unknown first-level topic; create it with: lmqgate topic create NAME", "topic", name)
		}
		return false, err
	}
	if !create {
		return false, nil
	}
	release, err := c.begin(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if k := c.known.get(name); k != nil && time.Now().Before(k.until) {
		return true, nil // another message has created it meanwhile
	}
	return true, c.create(ctx, name, c.o.Queues, by)
}

// claim makes room for a topic that is about to be created.
func (c *Catalog) claim(name string, by topic.Maker) (release func(), err error) {
	if release, err = c.o.Meta.ClaimTopic(name, by); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrTooManyTopics, name, err)
	}
	return release, nil
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

// Physical returns the store's topic for messages to a topic name, as Ensure does.
func (c *Catalog) Physical(ctx context.Context, name string, by topic.Maker) (string, error) {
	physical, err := c.Ensure(ctx, topic.First(name), by)
	if err != nil {
		return "", err
	}
	if _, ok := topic.P2PTarget(name); ok && c.o.Store.Limits().SingleFeeder {
		return P2PTopic, c.EnsureOwn(ctx, P2PTopic, 1)
	}
	return physical, nil
}

// Create creates a first-level topic in the store for an operator, registers it and notifies the watchers. queues is the number of physical
// queues on each broker; 0: as configured. An existing topic is not an error. ErrTooManyTopics: the metadata backend is full.
func (c *Catalog) Create(ctx context.Context, name string, queues int) error {
	if queues == 0 {
		queues = c.o.Queues
	}
	release, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.create(ctx, name, queues, topic.Maker{Operator: true})
}

// create creates a topic on behalf of by. The caller holds creating. What is refused leaves nothing behind.
func (c *Catalog) create(ctx context.Context, name string, queues int, by topic.Maker) error {
	name = strings.Clone(name) // it may share its memory with a payload
	release, err := c.claim(name, by)
	if err != nil {
		return err
	}
	defer release()
	if err := c.o.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	if err := c.o.Meta.MakeTopic(ctx, name, by); err != nil {
		return fmt.Errorf("registering first-level topic %q: %w", name, err)
	}
	c.refused.clear()
	if err := c.tell(ctx); err != nil {
		return err
	}
	c.known.put(name)
	return nil
}

// Delete removes a first-level topic: its registration, and its records in the store. If it does not exist, the error wraps
// store.ErrUnknownTopic.
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

// Forget drops a topic from the cache, so that the store is asked again.
func (c *Catalog) Forget(name string) {
	c.known.drop(name)
	c.own.Delete(name)
}

// EnsureOwn creates one of the gateway's own topics (store.OwnPrefix), once.
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

// known caches the topics that the store has. Expired entries stay: they are used while the store is unavailable.
type known struct {
	topics sync.Map // name -> *knownTopic
	count  atomic.Int64
}

type knownTopic struct {
	name  string
	until time.Time
}

// maxKnown bounds the cached topics. Beyond it a new topic evicts an arbitrary one, which costs another question to the store.
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
