package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
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

// TestTheWillOfASessionThatEndsWhileItsNodeIsStoppedIsPublishedOnce lets clients begin new sessions on another node, for which theirs end,
// while their node does not run: for a while shorter than the lease, for longer, for good, and until its process is started again.
func TestTheWillOfASessionThatEndsWhileItsNodeIsStoppedIsPublishedOnce(t *testing.T) {
	for _, of := range []struct {
		name  string
		stops func(c *process)
		after time.Duration // when the node goes on
		goes  func(c *process)
	}{
		{"it runs", func(*process) {}, 0, func(*process) {}},
		{"stopped for a moment", (*process).halts, 5 * time.Second, (*process).goesOn},
		{"stopped for almost a lease", (*process).halts, 9 * time.Second, (*process).goesOn},
		{"stopped for longer", (*process).halts, 16 * time.Second, (*process).goesOn},
		{"stopped for minutes", (*process).halts, 3 * time.Minute, (*process).goesOn},
		{"killed and started again", (*process).dies, 5 * time.Second, func(c *process) { c.start() }},
		{"killed", (*process).dies, 0, func(*process) {}},
	} {
		t.Run(of.name, func(t *testing.T) {
			listedCluster(t, func(t *testing.T, a, b, c *process) {
				reader := a.connect("reader", durable)
				reader.subscribe(1, "wills/#")
				kinds := []string{"at once", "delayed", "clean", "replaced"}
				var want []string
				for i := range 12 { // enough that each node decides about some of them
					kind := kinds[i%len(kinds)]
					id := fmt.Sprint(kind, i)
					switch kind {
					case "at once":
						c.connect(id, expiry(5*time.Minute), will(id, 0))
					case "delayed":
						c.connect(id, expiry(5*time.Minute), will(id, time.Minute))
					default:
						c.connect(id, clean, will(id, 0))
					}
					want = append(want, id)
				}
				pass(time.Second)
				of.stops(c)
				if of.after > 0 {
					time.AfterFunc(of.after, func() { of.goes(c) })
				}
				var again sync.WaitGroup
				for _, id := range want {
					again.Go(func() {
						change := []func(*Request){durable, clean}
						if strings.HasPrefix(id, "replaced") {
							change = append(change, will("never", 0))
						}
						if strings.HasPrefix(id, "clean") {
							change = change[1:]
						}
						b.connect(id, change...)
					})
				}
				again.Wait()
				pass(5 * time.Minute)
				var got []string
				for reader.waiting() > 0 {
					p := reader.next()
					reader.ack(p)
					got = append(got, string(p.Payload))
					synctest.Wait()
				}
				require.ElementsMatch(t, want, got)
			})
		})
	}
}

func TestNoWillIsInheritedFromANodeThatLeaves(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *process) {
		reader := a.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		c.connect("clean", clean, will("never", 0))
		moves := c.connect("moves", clean, will("never", 0))
		moves.s.Detach(moves, Ending{Moved: true})
		pass(time.Second)
		c.leaves()
		b.connect("clean", clean)
		b.connect("moves", clean, will("another", 0))
		pass(100 * time.Millisecond)
		c.start()
		pass(5 * time.Minute)
		require.Zero(t, reader.waiting())
	})
}

func TestNobodyInheritsTheWillOfAnotherIdentity(t *testing.T) {
	listedCluster(t, func(t *testing.T, a, b, c *process) {
		reader := a.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		victim := c.connect("client", clean, will("never", 0), asUser("alice"))
		pass(time.Second)
		c.halts()
		time.AfterFunc(3*time.Second, c.goesOn)
		_, _ = b.tryConnect("client", clean, asUser("mallory"))
		pass(time.Minute)
		require.False(t, victim.isClosed())
		require.Zero(t, reader.waiting())
	})
}
