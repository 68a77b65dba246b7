package rocketmq

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

const (
	// tailSuspend is how long a broker may hold a tail's pull (long polling).
	tailSuspend = 15 * time.Second
	// startPatience is how long Tail tries to learn the end of a partition whose broker does not answer. After that, the partition is
	// treated like one that appears later.
	startPatience = 3 * time.Second
	// busyGap: a queue counts as busy if two pulls bring records within this time; busyPause is how long its next pull then waits. A queue
	// that is not busy is pulled at once.
	busyGap   = 5 * time.Millisecond
	busyPause = 3 * time.Millisecond
	// lagFor is how long a queue may end before what this node knows to be stored in it. After that the queue counts as begun again.
	lagFor = 2 * time.Second
	// clockSkew is how far the clocks of brokers and gateways may differ. A partition that appears later is read from the records stored
	// this long before the tail began. What a broker stored earlier than that, while it was away, does not belong to the tail.
	clockSkew = time.Minute
)

// unknownOffset says that a partition's start must be looked up.
const unknownOffset = -1

// tail follows all partitions of a topic, or one light message queue on all brokers. It has one goroutine that looks for new partitions,
// and one for each partition that pulls. Close, and closing the store, stop them.
type tail struct {
	s     *Store
	topic string // the RocketMQ name
	queue string // the name of the light message queue; empty for a topic
	f     store.TailFunc
	began time.Time

	ctx  context.Context
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	known  map[store.Partition]bool
	begins map[store.Partition]int64 // where partitions began, as far as known
	// look triggers a search for new partitions; one token is enough.
	look chan struct{}
}

// Tail implements store.Store.
func (s *Store) Tail(ctx context.Context, topic string, f store.TailFunc) (store.Tail, error) {
	return s.tail(ctx, topic, "", f)
}

// TailQueue implements store.Store.
func (s *Store) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return s.tail(ctx, lmqPrefix+queue, queue, f)
}

func (s *Store) tail(ctx context.Context, topic, queue string, f store.TailFunc) (store.Tail, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	t := &tail{
		s: s, topic: topic, queue: queue, f: f, began: time.Now(),
		known: make(map[store.Partition]bool), begins: make(map[store.Partition]int64), look: make(chan struct{}, 1),
	}
	run, cancel := context.WithCancel(s.base)
	t.ctx, t.stop = run, cancel
	starts, err := t.starts(ctx)
	if err != nil {
		cancel()
		s.end()
		return nil, fmt.Errorf("tail %q: %w", clip(topic), err)
	}
	for p, offset := range starts {
		t.follow(p, offset)
	}
	t.wg.Go(t.search)
	go func() {
		t.wg.Wait()
		s.end()
	}()
	return t, nil
}

// Close implements store.Tail.
func (t *tail) Close() {
	t.stop()
	t.wg.Wait()
}

// partitions returns the partitions that can be followed now.
func (t *tail) partitions(ctx context.Context) ([]store.Partition, error) {
	if t.queue == "" {
		rt, err := t.s.routes.refreshTopic(ctx, t.topic)
		if remoting.IsCode(err, remoting.TopicNotExist) {
			return nil, t.s.routes.missing(ctx, t.topic)
		}
		if err != nil {
			return nil, err
		}
		return rt.readable, nil
	}
	st, err := t.s.routes.current(ctx, time.Second)
	if err != nil {
		return nil, err
	}
	ps := make([]store.Partition, len(st.names))
	for i, name := range st.names {
		ps[i] = store.Partition{Broker: name}
	}
	return ps, nil
}

// starts returns the partitions with their present ends.
func (t *tail) starts(ctx context.Context) (map[store.Partition]int64, error) {
	ps, err := t.partitions(ctx)
	if err != nil {
		return nil, err
	}
	starts := make(map[store.Partition]int64, len(ps))
	var mu sync.Mutex
	var wg sync.WaitGroup
	patience, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for _, p := range ps {
		wg.Go(func() {
			end := int64(unknownOffset)
			err := t.s.asks(t.topic)(patience, p.Broker, func(addr string) (err error) {
				if t.queue != "" {
					if err = t.s.awaitIndex(patience, p.Broker, addr); err != nil {
						return err
					}
				}
				end, err = t.s.client.MaxOffset(patience, addr, t.topic, p.ID)
				return err
			})
			if err != nil {
				end = unknownOffset
				t.s.log.Warn("a broker does not tell the end of a queue; what it stores from now on is read when it is back",
					"topic", t.topic, "broker", p.Broker, "queue", p.ID, "error", err)
			}
			mu.Lock()
			defer mu.Unlock()
			starts[p] = end
		})
	}
	wg.Wait()
	return starts, ctx.Err()
}

// follow starts the goroutine of a partition unless it is running already.
func (t *tail) follow(p store.Partition, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[p] {
		return
	}
	t.known[p] = true
	pt := &partitionTail{tail: t, p: p, offset: offset, cuts: t.s.Cuts(p.Broker), answers: make(chan answer, 1)}
	if t.queue == "" {
		pt.relay = t.s.own.watch(t.topic, p)
		if offset != unknownOffset {
			pt.offset = max(offset, pt.relay.known())
		}
	}
	if offset != unknownOffset {
		t.begins[p] = pt.offset
	}
	t.wg.Go(pt.run)
}

// begin records where a partition begins.
func (t *tail) begin(p store.Partition, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begins[p] = offset
}

// Ends implements store.Tail.
func (t *tail) Ends(f func(p store.Partition, begin, end int64)) {
	t.mu.Lock()
	begins := maps.Clone(t.begins)
	t.mu.Unlock()
	for p, begin := range begins {
		end := begin
		if t.queue == "" {
			end = max(begin, t.s.own.end(ownPartition{t.topic, p}).known())
		}
		f(p, begin, end)
	}
}

// latestReads bounds the queues that Latest asks about concurrently.
const latestReads = 16

// Latest implements store.Tail.
func (t *tail) Latest(ctx context.Context, f func(p store.Partition, begin, end int64)) {
	type place struct {
		p          store.Partition
		begin, end int64
	}
	var all []*place
	t.Ends(func(p store.Partition, begin, end int64) { all = append(all, &place{p, begin, end}) })
	var asks errgroup.Group
	asks.SetLimit(latestReads)
	for _, at := range all {
		asks.Go(func() error {
			var end int64
			err := t.s.asks(t.topic)(ctx, at.p.Broker, func(addr string) (err error) {
				end, err = t.s.client.MaxOffset(ctx, addr, t.topic, at.p.ID)
				return err
			})
			if err == nil {
				at.end = max(at.end, end)
			}
			return nil
		})
	}
	_ = asks.Wait()
	for _, at := range all {
		f(at.p, at.begin, at.end)
	}
}

// search looks for new partitions periodically, and soon after a pull has failed.
func (t *tail) search() {
	timer := time.NewTimer(routeAge)
	defer timer.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-timer.C:
		case <-t.look:
			// Not after every failed pull: wait a second first.
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
		if ps, err := t.partitions(t.ctx); err == nil {
			for _, p := range ps {
				t.follow(p, unknownOffset)
			}
		}
		timer.Reset(routeAge)
	}
}

// wait waits for d, or until the tail ends.
func (t *tail) wait(d time.Duration) {
	select {
	case <-t.ctx.Done():
	case <-time.After(d):
	}
}

// breaks counts, for each broker, the partitions whose tail is interrupted. It logs one line when the first interruption of a broker begins
// and one when the last ends. It lets waiting partitions retry at once when the broker is back.
type breaks struct {
	log *slog.Logger
	any atomic.Bool // some broker's tails are interrupted

	mu sync.Mutex
	of map[string]*interruption
}

// interruption is the state of a broker while some of its tails are interrupted.
type interruption struct {
	n    int
	back chan struct{} // closed when the broker answers anyone
}

func (b *breaks) begin(broker string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = make(map[string]*interruption)
	}
	i := b.of[broker]
	if i == nil {
		i = &interruption{back: make(chan struct{})}
		b.of[broker] = i
		b.any.Store(true)
		b.log.Warn("tails of a broker are interrupted, trying on", "broker", broker, "error", err)
	}
	i.n++
}

// end records that a tail continues: the broker is back for the others too.
func (b *breaks) end(broker string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.of[broker]
	if i.n--; i.n > 0 {
		i.wake()
		return
	}
	delete(b.of, broker)
	b.any.Store(len(b.of) > 0)
	b.log.Info("tails of a broker go on", "broker", broker)
}

// back records that a broker has answered. It costs almost nothing while no tail is interrupted.
func (b *breaks) back(broker string) {
	if !b.any.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.of[broker]; i != nil {
		i.wake()
	}
}

// waiter returns a channel that is closed when the broker answers anyone; nil while the broker's tails are not interrupted.
func (b *breaks) waiter(broker string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.of[broker]; i != nil {
		return i.back
	}
	return nil
}

func (i *interruption) wake() {
	close(i.back)
	i.back = make(chan struct{})
}
