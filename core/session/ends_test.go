package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

func expiry(d time.Duration) func(*Request) { return func(r *Request) { r.Expiry = d } }

func TestASessionEndsWhenItsClientStaysAway(t *testing.T) {
	for _, expires := range []time.Duration{time.Minute, expireTimerMax + time.Second} {
		t.Run(expires.String(), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", expiry(expires))
				c.subscribe(2, "T/a")
				n.publish(1, "T/a", "m")
				c.next() // in flight, so the session stays in memory
				c.drop()
				pass(30 * time.Second)
				require.NotNil(t, n.record("c"))
				c = n.connect("c", expiry(expires))
				require.True(t, c.present, "it is back in time")
				c.next()
				c.drop()
				pass(expires + 2*sweepInterval)
				require.Nil(t, n.record("c"))
				require.Nil(t, n.session("c"))
				require.False(t, n.connect("c", expiry(expires)).present)
			})
		})
	}
}

func TestASessionThatIsOverBeginsAnewAtOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("c", expiry(time.Second)).drop()
		n.meta.fail(meta.ErrUnavailable) // the timer fails to end the session
		pass(2 * time.Second)
		n.meta.fail(nil)
		require.NotNil(t, n.record("c"))
		require.False(t, n.connect("c", durable).present)
	})
}

func TestAnEndThatFailsIsTriedAgainByTheSweep(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("c", expiry(time.Second)).drop()
		n.meta.fail(meta.ErrUnavailable)
		pass(3 * sweepInterval)
		n.meta.fail(nil)
		pass(2 * sweepInterval)
		require.Nil(t, n.record("c"))
	})
}

func TestSessionsThatACrashLeftAsConnectedCountFromTheStart(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("away", expiry(2*time.Minute))
		n.connect("back", expiry(2*time.Minute))
		pass(time.Second) // so that the connections are older than the next start
		n.crash()
		began := time.Now()
		back := n.connect("back", expiry(2*time.Minute))
		pass(sweepInterval + time.Second)
		require.WithinDuration(t, began, n.record("away").Disconnected, time.Second)
		require.True(t, n.record("back").Disconnected.IsZero())
		n.adopt(n.record("back"), began) // as if the client had reconnected in that moment
		require.True(t, n.record("back").Disconnected.IsZero())
		pass(2 * sweepInterval)
		require.Nil(t, n.record("away"))
		require.NotNil(t, n.record("back"))
		back.leave()
	})
}

func TestWills(t *testing.T) {
	for _, c := range []struct {
		name   string
		change []func(*Request)
		do     func(n *node, c *client)
		want   []string
	}{
		{"a dropped connection", []func(*Request){clean, will("w", 0)}, func(_ *node, c *client) { c.drop() }, []string{"w"}},
		{"a graceful end", []func(*Request){clean, will("w", 0)}, func(_ *node, c *client) { c.leave() }, nil},
		{"a clean session has no delay", []func(*Request){clean, will("w", time.Minute)}, func(_ *node, c *client) { c.drop() }, []string{"w"}},
		{"before the delay is over", []func(*Request){durable, will("w", time.Minute)}, func(_ *node, c *client) {
			c.drop()
			pass(59 * time.Second)
		}, nil},
		{"after the delay", []func(*Request){durable, will("w", time.Minute)}, func(_ *node, c *client) {
			c.drop()
			pass(61 * time.Second)
		}, []string{"w"}},
		{"the client is back in time", []func(*Request){durable, will("w", time.Minute)}, func(n *node, c *client) {
			c.drop()
			pass(30 * time.Second)
			n.connect("c", durable)
			pass(2 * time.Minute)
		}, nil},
		{"the session ends with a clean start", []func(*Request){durable, will("w", time.Minute)}, func(n *node, c *client) {
			c.drop()
			n.connect("c", clean)
		}, []string{"w"}},
		{"the session ends before the delay", []func(*Request){expiry(10 * time.Second), will("w", time.Minute)}, func(_ *node, c *client) {
			c.drop()
			pass(11 * time.Second)
		}, []string{"w"}},
		{"a takeover", []func(*Request){durable, will("w", 0)}, func(n *node, _ *client) { n.connect("c", durable) }, []string{"w"}},
		{"another node is lost", []func(*Request){durable}, func(n *node, _ *client) {
			n.leftWill("gone", "other", "theirs", 0)
			n.leftWill("late", "other", "later", time.Minute)
			n.leftWill("c", "other", "not c's, which is here", 0)
			n.leftWill("stays", "third", "not theirs", 0)
			n.NodeLost("node") // this node itself
			n.NodeLost("other")
		}, []string{"theirs"}},
		{"the list of wills fails at first", []func(*Request){durable}, func(n *node, _ *client) {
			n.leftWill("gone", "other", "theirs", 0)
			n.meta.fail(meta.ErrUnavailable)
			n.NodeLost("other")
			pass(time.Minute)
			n.meta.fail(nil)
			pass(time.Minute)
		}, []string{"theirs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				watcher := n.connect("watcher", clean)
				watcher.subscribe(1, "wills/+")
				c.do(n, n.connect("c", c.change...))
				for _, want := range c.want {
					p := watcher.next()
					require.Equal(t, want, string(p.Payload))
					require.EqualValues(t, 3600, *p.Properties.MessageExpiryInterval, "it runs from the publication on")
				}
				pass(100 * time.Millisecond)
				require.Zero(t, watcher.waiting())
			})
		})
	}
}

// leftWill records a will that a client left on another node, under the given node id.
func (n *node) leftWill(id, of, payload string, delay time.Duration) {
	n.t.Helper()
	now := time.Now()
	w := &meta.Will{ClientID: id, Node: of, Delay: delay, SessionExpiry: time.Hour, Message: &store.Message{Topic: "wills/" + id,
		Payload: []byte(payload), QoS: 1, Created: now, Expires: now.Add(time.Hour)}}
	require.NoError(n.t, n.meta.Meta.SaveWill(context.Background(), w))
}

func TestWillsThatAnEarlierProcessLeft(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.leftWill("mine", "node", "mine", 0)
		n.leftWill("dead", "dead node", "dead", 0)
		n.leftWill("alive", "living node", "alive", 0)
		n.leftWill("back", "node", "back", 0)
		pass(time.Second)
		n.restart()
		back := n.connect("back", durable)
		watcher := n.connect("watcher", clean)
		watcher.subscribe(1, "wills/+")
		pass(time.Minute)
		require.ElementsMatch(t, []string{"mine", "dead"}, []string{string(watcher.next().Payload), string(watcher.next().Payload)})
		require.Zero(t, watcher.waiting())
		require.False(t, back.isClosed())
		for id, left := range map[string]bool{"mine": false, "dead": false, "alive": true} {
			w, err := n.meta.LoadWill(context.Background(), id)
			require.NoError(t, err)
			require.Equal(t, left, w != nil, id)
		}
	}, func(n *node) { n.options.Alive = func(node string) bool { return node == "living node" } })
}

func TestANodeThatStopsHandsItsWillsOver(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("c", durable, will("w", 0))
		late := n.connect("late", durable, will("late", time.Minute))
		late.drop()
		pass(time.Second) // a will as recent as the node's start could belong to a new connection
		n.restart()
		watcher := n.connect("watcher", clean)
		watcher.subscribe(1, "wills/+")
		pass(20 * time.Second)
		require.Zero(t, watcher.waiting(), "the clients have time to come back")
		pass(time.Minute + 20*time.Second)
		require.ElementsMatch(t, []string{"w", "late"}, []string{string(watcher.next().Payload), string(watcher.next().Payload)})
	})
}

func TestAWillThatCannotBeStoredOrRemovedIsKept(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, will("w", 0))
		n.store.FailAppends(store.ErrInvalidTopic)
		c.drop()
		pass(time.Minute)
		n.store.FailAppends(nil)
		w, err := n.meta.LoadWill(context.Background(), "c")
		require.NoError(t, err)
		require.NotNil(t, w)
		// A persistent client whose will cannot be recorded is refused.
		n.meta.fail(nil)
		n.meta.failWills(meta.ErrLimit)
		_, err = n.tryConnect("d", durable, will("w", 0))
		require.ErrorIs(t, err, meta.ErrLimit)
		require.NotNil(t, n.connect("e", clean, will("w", 0)))
	})
}

func TestAConnectionThatIsFarBehindIsToldAndQoS0IsDropped(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		quick, slow := n.connect("quick", clean), n.connect("slow", clean)
		for _, c := range []*client{quick, slow} {
			c.mu.Lock()
			c.full = 1 // the first message fills the buffer
			c.mu.Unlock()
		}
		quick.subscribe(0, "T/+")
		slow.subscribe(1, "T/+")
		n.publish(1, "T/a", "first")
		for _, c := range []*client{quick, slow} {
			n.eventually("the buffer is full", func() bool {
				c.s.mu.Lock()
				defer c.s.mu.Unlock()
				return c.s.full
			})
		}
		for range 30 {
			n.publish(1, "T/a", string(make([]byte, 1<<10)))
		}
		quick.s.Writable()
		slow.s.Writable()
		n.eventually("the client is told", slow.isClosed)
		require.Equal(t, packet.QuotaExceeded, slow.code)
		n.eventually("the other goes on", func() bool {
			n.publish(1, "T/a", "now") // what arrives before the client drops its backlog is dropped with it
			quick.mu.Lock()
			defer quick.mu.Unlock()
			return string(quick.sent[len(quick.sent)-1].Payload) == "now"
		})
		require.False(t, quick.isClosed())
	}, func(n *node) { n.hub.MaxBuffered, n.hub.MaxBehind = 4<<10, 3 })
}
