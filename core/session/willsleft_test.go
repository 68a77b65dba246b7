package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// These tests cover what nodes that have gone leave to the others.

// listedCluster runs a test in virtual time on three nodes that know from the metadata who lives. The first one has the store.
func listedCluster(t *testing.T, f func(t *testing.T, a, b, c *process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var nodes []*process
		for _, id := range []string{"a", "b", "c"} {
			p := &process{}
			p.node = startNode(t, func(n *node) {
				n.id, n.named, n.wired = id, []string{"a", "b", "c"}, true
				if len(nodes) > 0 {
					n.beside = nodes[0].node
				}
				n.wrap = func(s store.Store) store.Store { p.wire = newWire(s); return p.wire }
				n.link = func(m pluginv1.MetaClient) pluginv1.MetaClient {
					p.link = newMetaLink(m, rand.New(rand.NewPCG(1, 2)))
					return p.link
				}
			})
			p.store.Shared()
			nodes = append(nodes, p)
		}
		nodes[0].eventually("the nodes know one another", func() bool {
			return !slices.ContainsFunc(nodes, func(n *process) bool { return len(n.o.Cluster.Members()) < 3 || len(n.alive()) < 3 })
		})
		f(t, nodes[0], nodes[1], nodes[2])
	})
}

// leaves stops the node cleanly, for good unless it is started again.
func (n *node) leaves() {
	n.stop()
	n.stop = func() {}
}

// dies ends the node without a word to anybody, for good unless it is started again.
func (p *process) dies() {
	p.meta.fail(errCut)
	p.wire.kill()
	p.link.set(linkDead)
	p.leaves()
}

// halts keeps the node from reading and writing anything, as if its process were stopped; goesOn ends that.
func (p *process) halts() {
	p.wire.cut()
	p.link.set(linkHangs)
}

func (p *process) goesOn() {
	p.link.set(linkWhole)
	p.wire.mend()
}

func TestWillsOfANodeThatLeavesAndDoesNotComeBackArePublishedOnce(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *process) {
		reader := a.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		c.connect("at once", durable, will("at once", 0))
		c.connect("clean", clean, will("clean", 0))
		c.connect("delayed", durable, will("delayed", 40*time.Second)).drop()
		c.connect("back", durable, will("back", 0))
		c.connect("left", durable, will("left", 0)).leave()
		pass(time.Second)
		c.leaves()
		pass(20 * time.Second)
		b.connect("back", durable)
		pass(9 * time.Second)
		require.Zero(t, reader.waiting(), "the node and its clients have time to come back")
		pass(20 * time.Second)
		first, second := reader.next(), reader.next()
		require.ElementsMatch(t, []string{"at once", "clean"}, []string{string(first.Payload), string(second.Payload)})
		require.Zero(t, reader.waiting(), "the delay begins anew")
		reader.ack(first)
		reader.ack(second)
		pass(40 * time.Second)
		reader.gets("delayed")
		pass(2 * time.Minute)
		require.Zero(t, reader.waiting())
	})
}

func TestNoNodePublishesTheWillsOfANodeThatIsBackInTime(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *process) {
		reader := a.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		c.connect("client", durable, will("w", 0))
		for range 2 { // the second departure counts anew
			pass(time.Second)
			c.leaves()
			pass(19 * time.Second)
			c.start()
		}
		back := b.connect("client", durable)
		pass(3 * time.Minute)
		require.Zero(t, reader.waiting())
		require.False(t, back.isClosed())
	})
}

func TestSessionsOfANodeThatIsGoneForGoodExpire(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *process) {
		c.connect("away", expiry(3*time.Minute))
		c.connect("for ever", expiry(meta.NeverExpires))
		c.connect("back", expiry(3*time.Minute))
		pass(time.Second)
		c.dies()
		began := time.Now()
		back := b.connect("back", expiry(3*time.Minute))
		pass(2*sweepInterval + time.Minute)
		require.WithinDuration(t, began.Add(time.Minute), a.record("away").Disconnected, 30*time.Second)
		require.False(t, a.record("for ever").Disconnected.IsZero())
		require.True(t, a.record("back").Disconnected.IsZero())
		pass(3 * time.Minute)
		require.Nil(t, a.record("away"))
		require.NotNil(t, a.record("for ever"))
		require.NotNil(t, a.record("back"))
		require.False(t, back.isClosed())
		require.True(t, a.connect("for ever", durable).present)
	})
}

func TestANodeThatWakesClosesTheConnectionsWhoseSessionsOthersLetExpire(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, _, c *process) {
		old := c.connect("client", expiry(10*time.Minute))
		pass(time.Second)
		c.halts()
		pass(2*sweepInterval + time.Minute)
		require.False(t, a.record("client").Disconnected.IsZero())
		pass(10 * time.Minute)
		require.Nil(t, a.record("client"))
		c.goesOn()
		c.eventually("the connection is closed", old.isClosed)
		pass(time.Minute)
		require.Nil(t, a.record("client"))
	})
}

func TestSessionsOfANodeThatIsBackSoonStayConnected(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, _, c *process) {
		kept := c.connect("client", expiry(2*time.Minute))
		pass(time.Second)
		c.halts()
		pass(40 * time.Second)
		c.goesOn()
		pass(5 * time.Minute)
		require.False(t, kept.isClosed())
		require.True(t, a.record("client").Disconnected.IsZero())
	})
}
