package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// routeAge is the age at which a route is fetched again.
const routeAge = 10 * time.Second

// justNow is the greatest age of a usable negative answer (negative cache).
const justNow = 100 * time.Millisecond

// broker is one master broker.
type broker struct {
	addr    string
	cluster string
	version int // 0 until it has answered once
	settings
}

// clusterState is the latest state of all brokers, from the name servers. It is immutable.
type clusterState struct {
	brokers map[string]broker
	names   []string // of the brokers, sorted
	// seen are the versions that brokers have ever reported, including brokers that are gone. A broker that is back after a crash but does
	// not answer yet must not count as one of unknown version: its keys would move to its only safe queue and back, and nobody reads the
	// two queues in one order.
	seen map[brokerAt]int
	// told is the version that each broker reported last, at any address.
	told map[string]int
	// last is the address at which each broker was registered last, including brokers that are gone.
	last map[string]string
	at   time.Time
}

// brokerAt is a broker at an address.
type brokerAt struct{ name, addr string }

// remember copies what the old state knew about brokers, and adds the brokers of this state.
func (st *clusterState) remember(old *clusterState) {
	st.seen, st.told, st.last = make(map[brokerAt]int), make(map[string]int), make(map[string]string)
	if old != nil {
		maps.Copy(st.seen, old.seen)
		maps.Copy(st.told, old.told)
		maps.Copy(st.last, old.last)
	}
	for name, b := range st.brokers {
		st.last[name] = b.addr
		if b.version != 0 {
			st.seen[brokerAt{name, b.addr}] = b.version
			st.told[name] = b.version
		}
	}
}

// topicRoute is the latest route of a topic, from the name servers. It is immutable.
type topicRoute struct {
	readable []store.Partition // sorted
	writable []store.Partition // sorted; only queue 0 of brokers that need a single feeder
	queues   int               // the greatest number of readable queues on one broker
	brokers  []string          // those with readable queues, sorted
	addrs    map[string]string // of the masters, by broker
	at       time.Time
}

// routes knows the locations of brokers and topics. It asks the name servers about anything that it does not know or that is too old. The
// name server that answered last is asked first.
type routes struct {
	client   *remoting.Client
	namesrvs []string
	log      *slog.Logger
	base     context.Context     // ends when the store closes
	joined   func(broker string) // called when a broker registers for the first time or at another address

	first   atomic.Int32 // index of the name server that answered last
	flight  singleflight.Group
	cluster atomic.Pointer[clusterState]
	topics  sync.Map // name -> *atomic.Pointer[topicRoute]
}

// ask calls f with one name server after another until one call succeeds. A name server that knows no route may have just restarted, so the
// others are asked too.
func (r *routes) ask(ctx context.Context, f func(addr string) error) error {
	var errs []error
	start := int(r.first.Load())
	for i := range r.namesrvs {
		n := (start + i) % len(r.namesrvs)
		err := f(r.namesrvs[n])
		if err == nil {
			r.first.Store(int32(n))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, err)
	}
	for _, err := range errs { // an answer tells more than a failure to reach another name server
		if remoting.IsCode(err, remoting.TopicNotExist) {
			return err
		}
	}
	return unavailable("ask the namesrvs "+strings.Join(r.namesrvs, ", "), errors.Join(errs...))
}

// learn adds to the state what the brokers report about themselves. It takes the values from known if those include a version, and asks the
// broker otherwise. A broker that does not answer keeps version 0.
func (r *routes) learn(ctx context.Context, st *clusterState, known func(name string, b broker) broker) {
	found := make([]broker, len(st.names))
	var wg sync.WaitGroup
	for i, name := range st.names {
		if found[i] = known(name, st.brokers[name]); found[i].version == 0 {
			wg.Go(func() {
				b := &found[i]
				if b.version, _ = r.client.ServerVersion(ctx, b.addr); b.version != 0 {
					b.settings = r.settingsOf(ctx, name, b.addr)
				}
			})
		}
	}
	wg.Wait()
	for i, name := range st.names {
		st.brokers[name] = found[i]
	}
}

// recheck asks all brokers for their versions and settings again: both may change when a broker restarts in place.
func (r *routes) recheck(ctx context.Context) {
	old := r.cluster.Load()
	if old == nil {
		return
	}
	st := &clusterState{brokers: maps.Clone(old.brokers), names: old.names, at: old.at}
	r.learn(ctx, st, func(_ string, b broker) broker { return broker{addr: b.addr, cluster: b.cluster} })
	for name, b := range st.brokers {
		if b.version == 0 { // it did not answer
			st.brokers[name] = old.brokers[name]
		}
	}
	st.remember(old)
	r.cluster.CompareAndSwap(old, st) // fails if there is a newer state, which has values of its own
}

// refreshCluster fetches the state of all brokers, and the versions of new ones.
func (r *routes) refreshCluster(ctx context.Context) (*clusterState, error) {
	ch := r.flight.DoChan("cluster", func() (any, error) {
		ctx := r.base
		var info *remoting.ClusterInfo
		if err := r.ask(ctx, func(addr string) (err error) {
			info, err = r.client.ClusterInfo(ctx, addr)
			return err
		}); err != nil {
			return nil, err
		}
		old := r.cluster.Load()
		st := &clusterState{brokers: make(map[string]broker), at: time.Now()}
		for name, b := range info.Brokers {
			if addr := b.Addresses[remoting.MasterID]; addr != "" {
				st.brokers[name] = broker{addr: addr, cluster: b.Cluster}
				st.names = append(st.names, name)
			}
		}
		slices.Sort(st.names)
		r.learn(ctx, st, func(name string, b broker) broker {
			if old != nil {
				b.version = old.seen[brokerAt{name, b.addr}]
				if before := old.brokers[name]; before.addr == b.addr {
					b.settings = before.settings
				}
			}
			return b
		})
		st.remember(old)
		r.cluster.Store(st)
		for _, name := range st.names {
			if r.joined != nil && (old == nil || old.brokers[name].addr != st.brokers[name].addr) {
				r.joined(name)
			}
		}
		return st, nil
	})
	select {
	case res := <-ch:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Val.(*clusterState), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// current returns a state of the cluster that is younger than age.
func (r *routes) current(ctx context.Context, age time.Duration) (*clusterState, error) {
	if st := r.cluster.Load(); st != nil && time.Since(st.at) < age {
		return st, nil
	}
	return r.refreshCluster(ctx)
}

// address returns the address of a broker's master. For a broker that is not registered, it returns the last known address: after a
// restart, brokers answer before they are registered again, which can take ten seconds more.
func (r *routes) address(ctx context.Context, name string) (string, error) {
	old := r.cluster.Load()
	if old != nil && old.brokers[name].addr != "" {
		return old.brokers[name].addr, nil
	}
	st, err := r.current(ctx, justNow)
	switch {
	case err != nil && old != nil && old.last[name] != "" && ctx.Err() == nil:
		return old.last[name], nil
	case err != nil:
		return "", err
	}
	if b := st.brokers[name]; b.addr != "" {
		return b.addr, nil
	}
	if addr := st.last[name]; addr != "" {
		return addr, nil
	}
	return "", fmt.Errorf("%w: no broker %q is registered", store.ErrUnavailable, name)
}

// topic returns a topic's route, from memory if it is there. An old route is refreshed in the background.
func (r *routes) topic(ctx context.Context, name string) (*topicRoute, error) {
	if p, ok := r.topics.Load(name); ok {
		rt := p.(*atomic.Pointer[topicRoute]).Load()
		if time.Since(rt.at) > routeAge {
			r.flight.DoChan("topic "+name, func() (any, error) { return r.fetch(name) })
		}
		return rt, nil
	}
	return r.refreshTopic(ctx, name)
}

// refreshTopic fetches a topic's route now.
func (r *routes) refreshTopic(ctx context.Context, name string) (*topicRoute, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ch := r.flight.DoChan("topic "+name, func() (any, error) { return r.fetch(name) })
	select {
	case res := <-ch:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Val.(*topicRoute), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *routes) fetch(name string) (*topicRoute, error) {
	ctx := r.base
	var route *remoting.Route
	if err := r.ask(ctx, func(addr string) (err error) {
		route, err = r.client.TopicRoute(ctx, addr, name)
		return err
	}); err != nil {
		return nil, err
	}
	st, err := r.current(ctx, 3*routeAge)
	if err == nil && slices.ContainsFunc(route.Queues, func(q remoting.QueueData) bool {
		addr := route.Master(q.BrokerName)
		return addr != "" && st.brokers[q.BrokerName].addr != addr
	}) {
		st, err = r.current(ctx, justNow) // a broker is new, or back, since the state was fetched
	}
	if err != nil {
		return nil, err
	}
	if err := checkQueues(name, route); err != nil {
		return nil, err
	}
	rt := newRoute(route, st)
	p, loaded := r.topics.LoadOrStore(name, newPointer(rt))
	if loaded {
		p.(*atomic.Pointer[topicRoute]).Store(rt)
	}
	return rt, nil
}

// newRoute converts a name server's answer about a topic. The state may be older than the route, so a broker that came back in between may
// be only in the route.
func newRoute(route *remoting.Route, st *clusterState) *topicRoute {
	rt := &topicRoute{addrs: make(map[string]string), at: time.Now()}
	for _, q := range route.Queues {
		addr := route.Master(q.BrokerName)
		if addr == "" {
			continue
		}
		rt.addrs[q.BrokerName] = addr
		if q.Readable() && q.ReadQueues > 0 {
			rt.brokers = append(rt.brokers, q.BrokerName)
			rt.queues = max(rt.queues, q.ReadQueues)
			for i := range q.ReadQueues {
				rt.readable = append(rt.readable, store.Partition{Broker: q.BrokerName, ID: int32(i)})
			}
		}
		if q.Writable() {
			n := q.WriteQueues
			if st.singleFeeder(q.BrokerName) {
				n = min(n, 1)
			}
			for i := range n {
				rt.writable = append(rt.writable, store.Partition{Broker: q.BrokerName, ID: int32(i)})
			}
		}
	}
	slices.Sort(rt.brokers)
	slices.SortFunc(rt.readable, comparePartitions)
	slices.SortFunc(rt.writable, comparePartitions)
	return rt
}

const (
	// maxQueues is the most queues that a topic may have on one broker, because the node reads each queue separately. maxPartitions is the
	// most on all brokers together.
	maxQueues     = 1024
	maxPartitions = 16 * maxQueues
)

// checkQueues refuses a topic with more queues than can be read. Brokers create as many queues as anyone asks for.
func checkQueues(name string, route *remoting.Route) error {
	total := 0
	for _, q := range route.Queues {
		n := max(q.ReadQueues, q.WriteQueues)
		if n > maxQueues {
			return fmt.Errorf("%w: topic %q has %d queues on broker %q, at most %d are supported; delete it, or make it anew with fewer",
				store.ErrInvalidTopic, clip(name), n, q.BrokerName, maxQueues)
		}
		if total += max(n, 0); total > maxPartitions {
			return fmt.Errorf("%w: topic %q has more than %d queues on all brokers together; delete it, or make it anew with fewer",
				store.ErrInvalidTopic, clip(name), maxPartitions)
		}
	}
	return nil
}

func newPointer(rt *topicRoute) *atomic.Pointer[topicRoute] {
	p := &atomic.Pointer[topicRoute]{}
	p.Store(rt)
	return p
}

func comparePartitions(a, b store.Partition) int {
	if c := strings.Compare(a.Broker, b.Broker); c != 0 {
		return c
	}
	return int(a.ID - b.ID)
}

// known returns a topic's last known route, even if the topic has no route any more; nil if it never had one here.
func (r *routes) known(name string) *topicRoute {
	if p, ok := r.topics.Load(name); ok {
		return p.(*atomic.Pointer[topicRoute]).Load()
	}
	return nil
}

// forget drops the route of a deleted topic.
func (r *routes) forget(name string) { r.topics.Delete(name) }

// missing decides what it means that the name servers have no route for a topic. They drop the routes of a broker that is down. So if a
// broker of the topic is not registered, the topic is unavailable; otherwise it does not exist.
func (r *routes) missing(ctx context.Context, name string) error {
	st, err := r.current(ctx, justNow)
	if err != nil {
		return err
	}
	if len(st.names) == 0 {
		return fmt.Errorf("%w: no broker is registered", store.ErrUnavailable)
	}
	if rt := r.known(name); rt != nil {
		for _, b := range rt.brokers {
			if _, there := st.brokers[b]; !there {
				return fmt.Errorf("%w: topic %q is on broker %q, which is not registered", store.ErrUnavailable, name, b)
			}
		}
	}
	return fmt.Errorf("%w: %q", store.ErrUnknownTopic, clip(name))
}

// singleFeeder reports whether a broker loses queue entries if several physical queues feed an LMQ. A broker that has never reported its
// version counts as one that does. A broker that is away, or does not answer yet, counts as what it was before: if its keys moved to
// another queue and back, their messages would be read out of order.
func (st *clusterState) singleFeeder(name string) bool {
	version := st.brokers[name].version
	if version == 0 {
		version = st.told[name]
	}
	return version < remoting.Version5_2_0
}

// unavailable wraps a failure of the connection or the server in store.ErrUnavailable. Ended contexts, a closed store, and topics that a
// broker does not know keep their own errors.
func unavailable(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrUnavailable),
		errors.Is(err, store.ErrInvalidTopic):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, remoting.ErrClosed):
		return fmt.Errorf("%s: %w", what, store.ErrClosed)
	case remoting.IsCode(err, remoting.TopicNotExist):
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnknownTopic, err)
	}
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}
