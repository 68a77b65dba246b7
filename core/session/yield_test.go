package session

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// inACluster runs a test in virtual time on three nodes that share the store and the metadata.
func inACluster(t *testing.T, f func(t *testing.T, a, b, c *node), change ...func(*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a", "b", "c"}
		a := startNode(t, append(change, func(n *node) { n.id, n.named = "a", names })...)
		join := func(id string) *node {
			n := startNode(t, func(n *node) { n.id, n.named, n.beside = id, names, a })
			n.eventually("the nodes know one another", func() bool { return len(n.o.Cluster.Members()) > 1 && len(a.o.Cluster.Members()) > 1 })
			return n
		}
		b, c := join("b"), join("c")
		a.eventually("all are there", func() bool {
			return len(a.o.Cluster.Members()) == 3 && len(b.o.Cluster.Members()) == 3 && len(c.o.Cluster.Members()) == 3
		})
		f(t, a, b, c)
	})
}

func TestASessionFollowsItsClientToAnotherNode(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS", qos), func(t *testing.T) {
			inACluster(t, func(t *testing.T, a, b, _ *node) {
				old := a.connect("client", durable)
				old.subscribe(qos, "t/#")
				a.publish(qos, "t/1", "1", "2", "3", "4")
				old.gets("1", "2")
				p := old.next()
				require.Equal(t, "3", string(p.Payload))

				now := b.connect("client", durable)
				require.True(t, old.isClosed())
				require.Equal(t, packet.SessionTakenOver, old.code)
				require.True(t, now.present)
				now.gets("3", "4")
				a.publish(qos, "t/1", "5")
				now.gets("5")
				require.Zero(t, now.waiting(), "what was acknowledged is not sent again")
				require.Nil(t, a.session("client"))

				back := a.connect("client", durable)
				require.True(t, back.present)
				b.publish(qos, "t/1", "6")
				back.gets("6")
			})
		})
	}
}

func TestAConnectionThatIsTakenOverReadsTheLastAcknowledgementsFirst(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, _ *node) {
		old := a.connect("client", durable)
		old.subscribe(1, "t")
		a.publish(1, "t", "1", "2")
		one, two := old.next(), old.next()
		time.AfterFunc(5*time.Millisecond, func() { old.ack(one) }) // in transit when b takes over
		time.AfterFunc(12*time.Millisecond, func() { old.ack(two) })
		now := b.connect("client", durable)
		a.publish(1, "t", "3")
		now.gets("3")
	})
}

func TestAClientIsConnectedOnceWhateverItsSession(t *testing.T) {
	begins := func(r *Request) { r.CleanStart = true }
	inACluster(t, func(t *testing.T, a, b, c *node) {
		nodes := []*node{a, b, c}
		for i, kind := range [][]func(*Request){{durable}, {begins}, {durable, begins}, {durable}, {begins}, {}, {durable}} {
			last := nodes[i%3].connect("client", kind...)
			a.eventually("one connection is left", func() bool {
				return len(a.Clients())+len(b.Clients())+len(c.Clients()) == 1 && len(nodes[i%3].Clients()) == 1
			})
			require.False(t, last.isClosed())
			pass(100 * time.Millisecond)
		}
	})
}

func TestASessionThatEndsWithItsConnectionEndsAtATakeover(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		a.connect("client", clean, will("ends", time.Hour))
		pass(100 * time.Millisecond)
		now := b.connect("client", durable)
		require.False(t, now.present)
		reader.gets("ends")

		// A session that continues: the client is back before the will delay is over.
		a.connect("other", durable, will("never", 2*time.Second))
		now = b.connect("other", durable)
		require.True(t, now.present)
		pass(4 * time.Second)
		// A session that ends because the new connection starts a new one.
		b.connect("third", durable, will("over", time.Hour))
		require.False(t, a.connect("third", durable, clean).present)
		reader.gets("over")
		require.Zero(t, reader.waiting())
	})
}

func TestADelayedWillIsNotPublishedWhereTheClientIsBackOnAnotherNode(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		a.connect("back", durable, will("never", 2*time.Second)).drop()
		a.connect("away", durable, will("due", 2*time.Second)).drop()
		pass(time.Second)
		b.connect("back", durable)
		pass(4 * time.Second)
		reader.gets("due")
		require.Zero(t, reader.waiting())
	})
}

func TestASubscriberThatMovesAllTheTimeGetsEverythingOnceAndInOrder(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		inACluster(t, func(t *testing.T, a, b, c *node) {
			nodes := []*node{a, b, c}
			now := a.connect("client", durable)
			now.subscribe(qos, "t/#")
			for i := range 30 {
				nodes[i%2].publish(qos, "t/1", fmt.Sprint(i))
				if i%5 == 4 {
					now = nodes[i%3].connect("client", durable)
				}
				now.gets(fmt.Sprint(i))
			}
			require.Zero(t, now.waiting())
		})
	}
}

func TestASleepingSessionIsDroppedFromMemoryOnceItsClientIsOnAnotherNode(t *testing.T) {
	for _, expires := range []time.Duration{30 * time.Second, time.Hour} {
		inACluster(t, func(t *testing.T, a, b, _ *node) {
			for _, id := range []string{"moves", "begins anew"} {
				c := a.connect(id, expiry(expires))
				c.subscribe(1, "t")
				a.publish(1, "t", "m")
				c.next() // in flight, so the session stays in memory
				c.drop()
				require.NotNil(t, a.session(id))
			}
			b.connect("moves", durable).gets("m")
			b.connect("begins anew", clean)
			pass(min(expires+time.Second, 2*sweepInterval))
			require.Nil(t, a.session("moves"))
			require.Nil(t, a.session("begins anew"))
			require.NotNil(t, a.record("moves"))
		})
	}
}

// commitsOf counts the commits that a node makes for one client.
type commitsOf struct {
	store.Store
	client string
	n      atomic.Int32
}

func (c *commitsOf) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	if client == c.client {
		c.n.Add(1)
	}
	return c.Store.Commit(ctx, client, epoch, offsets)
}

func TestNothingIsCommittedOfASessionThatBeginsAnewOnAnotherNode(t *testing.T) {
	for _, anew := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			seen := &commitsOf{client: "client"}
			names := []string{"a", "b"}
			a := startNode(t, func(n *node) {
				n.id, n.named = "a", names
				n.wrap = func(s store.Store) store.Store { seen.Store = s; return seen }
			})
			b := startNode(t, func(n *node) { n.id, n.named, n.beside = "b", names, a })
			a.eventually("the nodes know one another", func() bool { return len(a.o.Cluster.Members()) == 2 && len(b.o.Cluster.Members()) == 2 })
			old := a.connect("client", durable)
			old.subscribe(1, "t")
			pass(3 * time.Second)
			before := seen.n.Load()
			a.publish(1, "t", "m")
			old.gets("m")
			now := b.connect("client", durable, func(r *Request) { r.CleanStart = anew })
			require.Equal(t, !anew, now.present)
			a.eventually("the older connection is closed", func() bool { return old.isClosed() && a.session("client") == nil })
			require.Equal(t, !anew, seen.n.Load() > before)
		})
	}
}
