package session

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/testlog"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// counted counts the store calls that a SUBSCRIBE makes.
type counted struct {
	store.Store
	bounds, commits, brokers, reads atomic.Int32
	pause                           time.Duration // how long BoundsOn takes per queue
	answered                        func()        // called after BoundsOn has determined its answer; may be nil
}

func (c *counted) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	c.bounds.Add(1)
	if err := wait.For(ctx, time.Duration(len(queues))*c.pause); err != nil {
		return nil, err
	}
	all, err := c.Store.BoundsOn(ctx, broker, queues)
	if c.answered != nil {
		c.answered()
	}
	return all, err
}

func (c *counted) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	c.commits.Add(1)
	return c.Store.Commit(ctx, client, epoch, offsets)
}

func (c *counted) Brokers(ctx context.Context, topic string) ([]string, error) {
	c.brokers.Add(1)
	return c.Store.Brokers(ctx, topic)
}

func (c *counted) Read(ctx context.Context, q store.QueueRef, offset int64, n int) (store.Batch, error) {
	c.reads.Add(1)
	return c.Store.Read(ctx, q, offset, n)
}

func filters(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("T/%05d/+", i)
	}
	return out
}

func TestASubscribeOfManyFiltersAsksStoreAndMetadataAFewTimes(t *testing.T) {
	calls := &counted{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		var saves atomic.Int32
		n.meta.onSave(func(*meta.Session) error { saves.Add(1); return nil })
		c := n.connect("c", durable)
		asked := func(f func()) (bounds, commits, brokers, saved int32) {
			calls.bounds.Store(0)
			calls.commits.Store(0)
			calls.brokers.Store(0)
			saves.Store(0)
			f()
			return calls.bounds.Load(), calls.commits.Load(), calls.brokers.Load(), saves.Load()
		}
		all := filters(2000)
		synctest.Wait()
		calls.reads.Store(0) // discard the reads of the point-to-point queue
		bounds, commits, brokers, saved := asked(func() { c.subscribe(1, all...) })
		require.Equal(t, []int32{2, 0, 1, 1}, []int32{bounds, commits, brokers, saved}, "1024 queues in a question")
		require.Len(t, n.record("c").Subscriptions, 2000)
		synctest.Wait()
		require.Zero(t, calls.reads.Load(), "new queues are empty")
		n.publish(1, "T/00077/x", "first")
		n.publish(1, "T/01999/x", "second")
		c.gets("first", "second")
		pass(3 * time.Second)
		require.GreaterOrEqual(t, calls.commits.Load(), int32(2), "in the background, 1024 queues in a call")

		bounds, commits, brokers, saved = asked(func() { c.subscribe(1, all...) })
		require.Zero(t, bounds+commits+brokers+saved, "nothing has changed")
		bounds, commits, brokers, saved = asked(func() { c.subscribe(2, all[:1000]...) })
		require.Zero(t, bounds+commits+brokers)
		require.EqualValues(t, 1, saved, "options are recorded")

		c.drop()
		n.publish(1, "T/01077/x", "offline")
		synctest.Wait()
		calls.reads.Store(0)
		bounds, _, brokers, _ = asked(func() {
			c = n.connect("c", durable)
			c.gets("offline")
			synctest.Wait()
		})
		require.LessOrEqual(t, brokers, int32(4))
		require.LessOrEqual(t, bounds, int32(4))
		require.LessOrEqual(t, calls.reads.Load(), int32(8), "only queues with something new are read")
		require.True(t, c.present)
		n.publish(1, "T/01999/x", "m")
		c.gets("m")
		_, _, _, saved = asked(func() {
			for _, code := range c.s.Unsubscribe(context.Background(), append(all, "T/never")) {
				require.Contains(t, []packet.Code{packet.Success, packet.NoSubscriptionExisted}, code)
			}
		})
		require.EqualValues(t, 1, saved)
		require.Empty(t, n.record("c").Subscriptions)
	}, func(n *node) {
		n.wrap = func(s store.Store) store.Store {
			calls.Store = s
			return calls
		}
	})
}

func TestWhatIsStoredOnceTheStoreHasSaidWhereQueuesEndArrivesWithoutARead(t *testing.T) {
	calls := &counted{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		synctest.Wait()
		calls.reads.Store(0) // discard the reads of the point-to-point queue
		calls.answered = func() {
			n.publish(1, "T/00003/x", "first")
			n.publish(1, "T/00003/x", "second")
			n.publish(1, "T/00019/x", "third")
			calls.answered = nil
		}
		c.subscribe(1, filters(20)...)
		of := map[string][]string{} // topics have no order among one another
		for range 3 {
			p := c.next()
			of[p.Topic] = append(of[p.Topic], string(p.Payload))
			c.ack(p)
		}
		require.Equal(t, map[string][]string{"T/00003/x": {"first", "second"}, "T/00019/x": {"third"}}, of)
		synctest.Wait()
		require.Zero(t, calls.reads.Load())
		n.publish(1, "T/00003/x", "fourth")
		c.gets("fourth")
	}, func(n *node) {
		n.wrap = func(s store.Store) store.Store {
			calls.Store = s
			return calls
		}
	})
}

func TestABrokerHasTimeForAsManyQueuesAsASubscribeHas(t *testing.T) {
	calls := &counted{pause: 2500 * time.Microsecond}
	inVirtualTime(t, func(_ *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, filters(1300)...)
		n.publish(1, "T/01299/x", "m")
		c.gets("m")
	}, func(n *node) {
		n.wrap = func(s store.Store) store.Store {
			calls.Store = s
			return calls
		}
	})
}

func TestASubscriptionBeginsAtItsStartAlthoughTheStoreHasTheProgressOfAnOlderOne(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		n.publish(1, "T/a", "1")
		c.gets("1")
		pass(3 * time.Second) // until the progress is committed
		n.store.FailCommits(store.ErrUnavailable)
		require.Equal(t, []packet.Code{packet.Success}, c.s.Unsubscribe(context.Background(), []string{"T/+"}))
		n.publish(1, "T/a", "while nobody subscribed")
		c.subscribe(1, "T/+")
		n.crash()
		n.publish(1, "T/a", "2")
		c = n.connect("c", durable)
		require.True(t, c.present)
		c.gets("2")
		require.Zero(t, c.waiting())
	})
}

func TestAFilterThatIsNamedTwiceInASubscribeHasTheLaterOptions(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		codes, sent := c.s.Subscribe(context.Background(), []Subscription{
			{Subscription: packet.Subscription{Filter: "T/+", QoS: 0}}, {Subscription: packet.Subscription{Filter: "T/+", QoS: 1}}})
		sent()
		require.Equal(t, []packet.Code{0, 1}, codes)
		require.Len(t, n.record("c").Subscriptions, 1)
		require.EqualValues(t, 1, n.record("c").Subscriptions[0].QoS)
	})
}

func TestWhatASubscribeThatFailedHasRegisteredIsTakenBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/before/+")
		full := true
		n.meta.onSave(func(*meta.Session) error {
			if full {
				full = false
				return meta.ErrLimit
			}
			return nil
		})
		for _, code := range c.trySubscribe(1, filters(50)...) {
			require.Equal(t, packet.QuotaExceeded, code)
		}
		n.eventually("nothing is registered that no session has", func() bool { return n.meta.FilterCount("T") == 1 })
		require.Len(t, n.record("c").Subscriptions, 1)
		c.subscribe(1, filters(50)...)
		require.Equal(t, 51, n.meta.FilterCount("T"))
		n.publish(1, "T/00049/x", "m")
		c.gets("m")
	})
}

func TestAConnectionWaitsForWhatTheOneBeforeWasDoing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for name, change := range map[string]func(*client){
			"subscribe":   func(c *client) { c.trySubscribe(1, "T/new/+") },
			"unsubscribe": func(c *client) { c.s.Unsubscribe(context.Background(), []string{"T/old/+"}) },
		} {
			c := n.connect(name, durable)
			c.subscribe(1, "T/old/+")
			slow := make(chan struct{}, 1)
			slow <- struct{}{}
			begun := make(chan struct{})
			n.meta.onSave(func(*meta.Session) error {
				select {
				case <-slow: // the first save, which the old connection makes
					close(begun)
					time.Sleep(time.Second)
				default:
				}
				return nil
			})
			ended := make(chan struct{})
			go func() { change(c); close(ended) }()
			<-begun
			next := n.connect(name, durable)
			<-ended
			require.True(t, next.present)
			require.True(t, c.isClosed())
			rec := n.record(name)
			want := map[string]int{"subscribe": 2, "unsubscribe": 0}[name]
			require.Len(t, rec.Subscriptions, want)
			next.s.mu.Lock()
			require.Len(t, next.s.subs, want, "what is recorded is what the session has")
			next.s.mu.Unlock()
			next.leave()
		}
	})
}

func TestAConnectThatMeetsAnotherWriterLooksAgainAndGetsIn(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for name, options := range map[string][]func(*Request){"resumed": {durable}, "clean": {durable, clean}} {
			c := n.connect(name, durable)
			c.subscribe(1, "T/+")
			c.drop()
			meddled := 0
			n.meta.onSave(func(s *meta.Session) error {
				if meddled++; meddled > 3 {
					return nil
				}
				other, err := n.meta.Meta.LoadSession(context.Background(), name)
				require.NoError(t, err)
				if other == nil {
					other = &meta.Session{ClientID: name, Expiry: time.Hour}
				}
				other.Epoch = s.Epoch + 10
				other.Disconnected = time.Now()
				return n.meta.Meta.SaveSession(context.Background(), other)
			})
			c = n.connect(name, options...)
			require.Equal(t, 4, meddled)
			require.Equal(t, name == "resumed", len(n.record(name).Subscriptions) == 1)
			require.Equal(t, n.record(name).Epoch, c.s.epoch)
			n.meta.onSave(nil)
			c.leave()
		}
	})
}

func TestAConnectionThatAnotherNodeHasSupersededWritesNothingMore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		other := n.record("c")
		other.Epoch += 1000
		other.Node = "other"
		require.NoError(t, n.meta.Meta.SaveSession(context.Background(), other))
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, c.trySubscribe(1, "U/+"))
		n.eventually("the older connection is closed", c.isClosed)
		require.Equal(t, packet.SessionTakenOver, c.code)
		c.leave()
		require.Equal(t, other.Epoch, n.record("c").Epoch)
		require.Equal(t, "other", n.record("c").Node)
		require.True(t, n.record("c").Disconnected.IsZero(), "it is connected elsewhere")
	})
}

func TestAClientHasABoundedNumberOfSubscriptions(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		all := filters(15)
		codes := c.trySubscribe(1, all...)
		for i, code := range codes {
			if i < 10 {
				require.EqualValues(t, 1, code)
			} else {
				require.Equal(t, packet.QuotaExceeded, code)
			}
		}
		require.Equal(t, 10, n.meta.FilterCount("T"), "what is refused leaves nothing behind")
		require.Len(t, n.record("c").Subscriptions, 10)
		c.subscribe(2, all[3]) // not an additional subscription
		c.s.Unsubscribe(context.Background(), all[:1])
		c.subscribe(1, all[14])
		require.Equal(t, []packet.Code{packet.QuotaExceeded}, c.trySubscribe(1, all[13]))
	}, func(n *node) { n.options.MaxSubscriptions = 10 })
}

func TestAClientWithTooManySubscriptionsIsToldWhichBoundItHasReached(t *testing.T) {
	for _, c := range []struct {
		name, want string
		setup      func(*node)
	}{
		{"of the client", "limits.client.subscriptions allows 10", func(n *node) { n.options.MaxSubscriptions = 10 }},
		{"of its share of the metadata", "limits.client.share of the metadata's keys allows 10 durable and shared ones; raise it, or move",
			func(n *node) {
				traits := metatest.Full()
				traits.MaxKeys = 100
				n.backend = metatest.New(traits)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log testlog.Buffer
			inVirtualTime(t, func(t *testing.T, n *node) {
				require.Contains(t, n.connect("c", durable).trySubscribe(1, filters(15)...), packet.QuotaExceeded)
				require.Contains(t, log.String(), c.want)
			}, c.setup, func(n *node) { n.options.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		})
	}
}

func TestASessionThatIsKeptHasAClientIDOfBoundedLength(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		long := strings.Repeat("i", maxClientID)
		n.connect(long, durable).leave()
		require.NotNil(t, n.record(long))
		_, err := n.tryConnect(long+"i", durable)
		require.ErrorIs(t, err, ErrClientID)
		code, _ := Refusal(err)
		require.Equal(t, packet.ClientIdentifierNotValid, code)
		n.connect(long+"i", clean).leave()

		n.meta.onSave(func(*meta.Session) error { return meta.ErrLimit })
		_, err = n.tryConnect("c", durable)
		code, _ = Refusal(err)
		require.Equal(t, packet.QuotaExceeded, code)
	})
}
