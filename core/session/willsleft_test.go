package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests cover what nodes that have gone leave to the others.

// listedCluster runs a test in virtual time on three nodes that know from the metadata who lives. The first one has the store.
func listedCluster(t *testing.T, f func(t *testing.T, a, b, c *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var nodes []*node
		for _, id := range []string{"a", "b", "c"} {
			n := startNode(t, func(n *node) {
				n.id, n.named, n.wired = id, []string{"a", "b", "c"}, true
				if len(nodes) > 0 {
					n.beside = nodes[0]
				}
			})
			n.store.Shared()
			nodes = append(nodes, n)
		}
		nodes[0].eventually("the nodes know one another", func() bool {
			return !slices.ContainsFunc(nodes, func(n *node) bool { return len(n.o.Cluster.Members()) < 3 || len(n.alive()) < 3 })
		})
		f(t, nodes[0], nodes[1], nodes[2])
	})
}

// leaves stops the node cleanly, for good unless it is started again.
func (n *node) leaves() {
	n.stop()
	n.stop = func() {}
}

func TestWillsOfANodeThatLeavesAndDoesNotComeBackArePublishedOnce(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *node) {
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
	listedCluster(t, func(t *testing.T, a, b, c *node) {
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
