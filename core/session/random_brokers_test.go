package session

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
)

// TestEverythingArrivesWhateverHappensToTheBrokers is TestEverythingArrivesOnceAndInOrderWhateverHappens with several brokers, of which some
// are away for a while. Meanwhile appends go to another one, so messages may overtake, and a session's state may be where nobody can read
// it, so messages may come twice. None may be lost.
func TestEverythingArrivesWhateverHappensToTheBrokers(t *testing.T) {
	inChaos(t, chaosFaults{brokers: threeBrokers}, (*chaos).run)
}

// TestWillsArePublishedWhateverHappensToTheBrokers is TestWillsArePublishedWhateverHappens with several brokers.
func TestWillsArePublishedWhateverHappensToTheBrokers(t *testing.T) {
	inChaos(t, chaosFaults{brokers: threeBrokers}, (*chaos).runWills)
}

// TestEveryMessageReachesSomeMemberWhateverHappensToTheBrokers is TestEveryMessageReachesSomeMemberWhateverHappens with several brokers, and
// metadata that is always there.
func TestEveryMessageReachesSomeMemberWhateverHappensToTheBrokers(t *testing.T) {
	inChaos(t, chaosFaults{brokers: threeBrokers}, (*chaos).runGroup)
}

var threeBrokers = []string{local.Broker, "second", "third"}

// fleet is a store of several brokers, as RocketMQ is one: an append that a broker does not confirm is tried again with another one, under
// the same id.
type fleet struct {
	*brokerSet
	names []string
	ids   atomic.Int64
}

var _ store.Store = (*fleet)(nil)

// idKey is the user property in which a fleet's brokers keep the id of a record.
const idKey = "id of the record"

// broken is a state of a broker.
type broken int

const (
	brokerWell    broken = iota
	brokerMute           // it stores what it is sent, and answers no append
	brokerAway           // every call fails, and tails wait
	unansweredFor = 3 * time.Second
)

func newFleet(t *testing.T, first store.Store, names []string) *fleet {
	f := &fleet{brokerSet: newCluster(first), names: names}
	f.limits = first.Limits()
	for _, name := range names[1:] {
		f.add(t, name)
	}
	return f
}

func (f *fleet) strike(broker string, to broken) {
	f.set(func(c *brokerSet) {
		c.down[broker], c.mute[broker] = to == brokerAway, to == brokerMute
	})
}

// answers reports whether a broker confirms appends.
func (f *fleet) answers(broker string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.down[broker] && !f.mute[broker]
}

func (f *fleet) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	m := *a.Message
	var p store.Properties
	if m.Properties != nil {
		p = *m.Properties
	}
	p.User = append(slices.Clone(p.User), store.UserProperty{Key: idKey, Value: strconv.FormatInt(f.ids.Add(1), 36)})
	m.Properties = &p
	a.Message = &m
	go f.attempt(ctx, a, done)
}

func (f *fleet) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	f.Append(ctx, batch[0], func(p store.Position, err error) { done(1, p, err) })
}

// attempt tries one broker after the other, beginning with that of the key.
func (f *fleet) attempt(ctx context.Context, a store.Append, done func(store.Position, error)) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(a.Key))
	for next := int(h.Sum32() % uint32(len(f.names))); ; next++ {
		broker := f.names[next%len(f.names)]
		p, err := f.try(ctx, broker, a)
		if err == nil && f.answers(broker) {
			done(p, nil)
			return
		}
		pause := 100 * time.Millisecond
		if err == nil {
			pause = unansweredFor
		}
		select {
		case <-ctx.Done():
			done(store.Position{}, ctx.Err())
			return
		case <-time.After(pause):
		}
		if a.Holder != nil && a.Holder.Held() {
			done(store.Position{}, store.ErrUnavailable)
			return
		}
	}
}

func (f *fleet) try(ctx context.Context, broker string, a store.Append) (store.Position, error) {
	s, err := f.at(broker)
	if err != nil {
		return store.Position{}, err
	}
	type outcome struct {
		p   store.Position
		err error
	}
	result := make(chan outcome, 1)
	s.Append(ctx, a, func(p store.Position, err error) { result <- outcome{p, err} })
	o := <-result
	o.p.Broker = broker
	return o.p, o.err
}

func (f *fleet) ReadPartition(ctx context.Context, topic string, p store.Partition, offset int64, n int) (store.Batch, error) {
	s, err := f.at(p.Broker)
	if err != nil {
		return store.Batch{}, err
	}
	broker := p.Broker
	p.Broker = local.Broker
	b, err := s.ReadPartition(ctx, topic, p, offset, n)
	for i, r := range b.Records {
		b.Records[i] = as(broker, r)
	}
	return b, err
}
