package session

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
)

// brokerSet is a store of several brokers, each of which is a local store. Calls that name a broker go to that broker's store; all other
// calls go to the embedded store. A test can add brokers and take them down.
type brokerSet struct {
	store.Store // of the first broker, "local"

	limits store.Limits

	mu    sync.Mutex
	more  map[string]*local.Store
	down  map[string]bool
	mute  map[string]bool // for a fleet
	fails error           // returned by Brokers
	busy  int             // how many times Brokers encodes a record before it returns, if it is asked for all brokers
	next  string          // the broker that appends go to
	tails []*clusterTail
}

func newCluster(first store.Store) *brokerSet {
	return &brokerSet{Store: first, more: map[string]*local.Store{}, down: map[string]bool{}, mute: map[string]bool{}, next: local.Broker}
}

// inCluster gives the sessions of a node a brokerSet as their store and sets c to it.
func inCluster(c **brokerSet, limits store.Limits) func(*node) {
	return func(n *node) {
		n.wrap = func(s store.Store) store.Store {
			if *c == nil {
				*c = newCluster(s)
				(*c).limits = limits
			}
			(*c).Store = s
			return *c
		}
	}
}

// add adds a broker that has all existing topics.
func (c *brokerSet) add(t *testing.T, name string) {
	t.Helper()
	ctx := context.Background()
	s, err := local.New(local.Options{Path: filepath.Join(t.TempDir(), name), Sync: local.SyncInterval, MinFree: -1, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, s.Start(ctx))
	t.Cleanup(func() { _ = s.Close() })
	topics, err := c.Topics(ctx)
	require.NoError(t, err)
	for _, topic := range topics {
		require.NoError(t, s.CreateTopic(ctx, topic.Name, topic.Queues))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more[name] = s
	for _, tail := range c.tails {
		tail.follow(name, s)
	}
}

// set changes the brokerSet under its lock.
func (c *brokerSet) set(f func(c *brokerSet)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

// at returns the store of a broker, or store.ErrUnavailable if the broker is down.
func (c *brokerSet) at(broker string) (store.Store, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down[broker] {
		return nil, store.ErrUnavailable
	}
	if s := c.more[broker]; s != nil {
		return s, nil
	}
	return c.Store, nil
}

func (c *brokerSet) Limits() store.Limits { return c.limits }

func (c *brokerSet) Brokers(ctx context.Context, topic string) ([]string, error) {
	c.mu.Lock()
	busy, fails := c.busy, c.fails
	more := slices.Sorted(maps.Keys(c.more))
	c.mu.Unlock()
	for i := 0; i < busy && topic == ""; i++ {
		_ = encodeSlowly(&meta.Session{})
	}
	if fails != nil {
		return nil, fails
	}
	first, err := c.Store.Brokers(ctx, topic)
	return append(first, more...), err
}

func (c *brokerSet) CreateTopic(ctx context.Context, name string, queues int) error {
	if err := c.Store.CreateTopic(ctx, name, queues); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.more {
		if err := s.CreateTopic(ctx, name, queues); err != nil {
			return err
		}
	}
	return nil
}

func (c *brokerSet) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	s, err := c.at(next)
	if err != nil {
		done(store.Position{}, err)
		return
	}
	s.Append(ctx, a, func(p store.Position, err error) { p.Broker = next; done(p, err) })
}

func (c *brokerSet) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	c.Append(ctx, batch[0], func(p store.Position, err error) { done(1, p, err) })
}

// as returns a copy of a record whose position names the given broker, with the id that a fleet gave it.
func as(broker string, r *store.Record) *store.Record {
	c := *r
	c.Position.Broker = broker
	if p := r.Properties; p != nil && len(p.User) > 0 && p.User[len(p.User)-1].Key == idKey {
		c.ID = p.User[len(p.User)-1].Value
		c.Properties = nil
	}
	return &c
}

func (c *brokerSet) Read(ctx context.Context, q store.QueueRef, offset int64, n int) (store.Batch, error) {
	s, err := c.at(q.Broker)
	if err != nil {
		return store.Batch{}, err
	}
	b, err := s.Read(ctx, store.QueueRef{Queue: q.Queue, Broker: local.Broker}, offset, n)
	for i, r := range b.Records {
		b.Records[i] = as(q.Broker, r)
	}
	return b, err
}

func (c *brokerSet) Bounds(ctx context.Context, q store.QueueRef) (store.Bounds, error) {
	s, err := c.at(q.Broker)
	if err != nil {
		return store.Bounds{}, err
	}
	return s.Bounds(ctx, store.QueueRef{Queue: q.Queue, Broker: local.Broker})
}

func (c *brokerSet) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	s, err := c.at(broker)
	if err != nil {
		return nil, err
	}
	return s.BoundsOn(ctx, local.Broker, queues)
}

// each groups a list by broker and calls f once per broker. The queues of the list are renamed as the broker's own store names them.
func each[T any](c *brokerSet, list []T, ref func(*T) *store.QueueRef, f func(s store.Store, broker string, list []T) error) error {
	by := map[string][]T{}
	for _, item := range list {
		broker := ref(&item).Broker
		ref(&item).Broker = local.Broker
		by[broker] = append(by[broker], item)
	}
	for broker, items := range by {
		s, err := c.at(broker)
		if err != nil {
			return err
		}
		if err := f(s, broker, items); err != nil {
			return err
		}
	}
	return nil
}

func (c *brokerSet) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	return each(c, offsets, func(o *store.Offset) *store.QueueRef { return &o.QueueRef }, func(s store.Store, _ string, list []store.Offset) error {
		return s.Commit(ctx, client, epoch, list)
	})
}

func (c *brokerSet) Committed(ctx context.Context, client string, queues []store.QueueRef) ([]store.Offset, error) {
	var out []store.Offset
	err := each(c, queues, func(q *store.QueueRef) *store.QueueRef { return q }, func(s store.Store, broker string, list []store.QueueRef) error {
		some, err := s.Committed(ctx, client, list)
		for _, o := range some {
			o.Broker = broker
			out = append(out, o)
		}
		return err
	})
	return out, err
}

func (c *brokerSet) Forget(ctx context.Context, client string, queues []store.QueueRef) error {
	return each(c, queues, func(q *store.QueueRef) *store.QueueRef { return q }, func(s store.Store, _ string, list []store.QueueRef) error {
		return s.Forget(ctx, client, list)
	})
}

// group returns the store of a group's broker, and the group as that store names it.
func (c *brokerSet) group(g store.Group) (store.Store, store.Group, error) {
	s, err := c.at(g.Broker)
	g.Broker = local.Broker
	return s, g, err
}

func (c *brokerSet) PlaceGroup(ctx context.Context, g store.Group, offset int64) error {
	s, g, err := c.group(g)
	if err != nil {
		return err
	}
	return s.PlaceGroup(ctx, g, offset)
}

func (c *brokerSet) Pop(ctx context.Context, g store.Group, n int, hidden, wait time.Duration) ([]store.Handout, error) {
	s, of, err := c.group(g)
	if err != nil {
		return nil, err
	}
	out, err := s.Pop(ctx, of, n, hidden, wait)
	for i := range out {
		out[i].Record = as(g.Broker, out[i].Record)
	}
	return out, err
}

func (c *brokerSet) PopAck(ctx context.Context, g store.Group, receipts []string) error {
	s, g, err := c.group(g)
	if err != nil {
		return err
	}
	return s.PopAck(ctx, g, receipts)
}

func (c *brokerSet) PopHide(ctx context.Context, g store.Group, receipts []string, hidden time.Duration) ([]string, error) {
	s, g, err := c.group(g)
	if err != nil {
		return nil, err
	}
	return s.PopHide(ctx, g, receipts, hidden)
}

func (c *brokerSet) EndGroup(ctx context.Context, g store.Group) error {
	s, g, err := c.group(g)
	if err != nil {
		return err
	}
	return s.EndGroup(ctx, g)
}

func (c *brokerSet) GroupLeft(ctx context.Context, g store.Group) (int64, error) {
	s, g, err := c.group(g)
	if err != nil {
		return 0, err
	}
	return s.GroupLeft(ctx, g)
}

// clusterTail is a tail over all brokers, including those that are added later.
type clusterTail struct {
	c    *brokerSet
	open func(s store.Store, f store.TailFunc) (store.Tail, error)
	f    store.TailFunc
	all  []clusterPart

	closed chan struct{}
}

// clusterPart is the tail of one broker. name is empty for the first broker.
type clusterPart struct {
	store.Tail
	name string
}

func (t *clusterTail) follow(broker string, s store.Store) {
	if tail, err := t.open(s, func(p store.Partition, records []*store.Record) { t.take(broker, p, records) }); err == nil {
		t.all = append(t.all, clusterPart{tail, broker})
	}
}

// take passes the records of a broker on, once it is not down.
func (t *clusterTail) take(broker string, p store.Partition, records []*store.Record) {
	for {
		if _, err := t.c.at(broker); err == nil {
			break
		}
		select {
		case <-t.closed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.Broker = broker
	out := make([]*store.Record, len(records))
	for i, r := range records {
		out[i] = as(broker, r)
	}
	t.f(p, out)
}

func (t *clusterTail) Ends(f func(p store.Partition, begin, end int64)) {
	t.c.mu.Lock()
	all := slices.Clone(t.all)
	t.c.mu.Unlock()
	for _, part := range all {
		part.Ends(func(p store.Partition, begin, end int64) {
			if part.name != "" {
				p.Broker = part.name
			}
			f(p, begin, end)
		})
	}
}

func (t *clusterTail) Latest(_ context.Context, f func(p store.Partition, begin, end int64)) {
	t.Ends(f)
}

func (t *clusterTail) Close() {
	t.c.mu.Lock()
	t.c.tails = slices.DeleteFunc(t.c.tails, func(o *clusterTail) bool { return o == t })
	t.c.mu.Unlock()
	close(t.closed)
	for _, tail := range t.all {
		tail.Close()
	}
}

func (c *brokerSet) tail(f store.TailFunc, open func(s store.Store, f store.TailFunc) (store.Tail, error)) (store.Tail, error) {
	t := &clusterTail{c: c, open: open, f: f, closed: make(chan struct{})}
	first, err := open(c.Store, func(p store.Partition, records []*store.Record) { t.take(local.Broker, p, records) })
	if err != nil {
		return nil, err
	}
	t.all = append(t.all, clusterPart{first, ""})
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.more {
		t.follow(name, s)
	}
	c.tails = append(c.tails, t)
	return t, nil
}

func (c *brokerSet) Tail(ctx context.Context, topic string, f store.TailFunc) (store.Tail, error) {
	return c.tail(f, func(s store.Store, f store.TailFunc) (store.Tail, error) { return s.Tail(ctx, topic, f) })
}

func (c *brokerSet) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return c.tail(f, func(s store.Store, f store.TailFunc) (store.Tail, error) { return s.TailQueue(ctx, queue, f) })
}
