package session

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
)

// wiredNodes starts two nodes of one cluster. The first one's way to the store can be cut. A reader at the second one subscribes to t/#.
func wiredNodes(t *testing.T, qos byte) (a, b *node, w *wire, reader *client) {
	t.Helper()
	names := []string{"a", "b"}
	b = startNode(t, func(n *node) { n.id, n.named = "b", names })
	b.store.Shared()
	a = startNode(t, func(n *node) {
		n.id, n.named, n.beside = "a", names, b
		n.wrap = func(s store.Store) store.Store { w = newWire(s); return w }
	})
	a.eventually("the nodes know one another", func() bool { return len(a.o.Cluster.Members()) == 2 && len(b.o.Cluster.Members()) == 2 })
	reader = b.connect("reader", durable)
	reader.subscribe(qos, "t/#")
	return a, b, w, reader
}

// begin publishes a message of a client without waiting for its outcome.
func (c *client) begin(qos byte, id uint16, name, payload string) (outcome chan error) {
	outcome = make(chan error, 1)
	m := &store.Message{Topic: name, Payload: []byte(payload), QoS: qos, Publisher: c.id, Created: time.Now()}
	c.s.Publish(context.Background(), c.lanes, m, id, func(err error) { outcome <- err })
	return outcome
}

func TestWhatWaitsForTheStoreIsNotStoredOnceItsClientIsAtAnotherNode(t *testing.T) {
	for qos := range byte(3) {
		for name, ends := range map[string]func(*client){"left": (*client).leave, "dropped": (*client).drop, "open": func(*client) {}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b, w, reader := wiredNodes(t, 2)
					old := a.connect("client", durable)
					w.cut()
					lost := old.begin(qos, 1, "t/x", "1")
					ended := make(chan struct{})
					go func() { ends(old); close(ended) }()
					now := b.connect("client", durable)
					for _, payload := range []string{"1", "2"} {
						require.NoError(t, <-now.begin(1, 0, "t/x", payload))
					}
					w.mend()
					require.ErrorIs(t, <-lost, publish.ErrEnded)
					<-ended
					reader.gets("1", "2")
					// The client comes back to the node that it was lost to.
					back := a.connect("client", durable)
					require.NoError(t, <-back.begin(1, 0, "t/x", "3"))
					reader.gets("3")
					pass(time.Minute)
					require.Zero(t, reader.waiting())
				})
			})
		}
	}
}

func TestAClientThatGoesToAnotherNodeDoesNotOvertakeWhatItPublishedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, w, reader := wiredNodes(t, 1)
		old := a.connect("client", durable)
		old.begin(0, 0, "t/x", "0")
		pass(time.Second) // the other node knows the client
		w.cut()
		for _, payload := range []string{"1", "2", "3"} {
			old.begin(0, 0, "t/x", payload)
		}
		old.leave()
		time.AfterFunc(time.Second, w.mend)
		now := b.connect("client", durable)
		require.NoError(t, <-now.begin(1, 1, "t/x", "4"))
		reader.gets("0", "1", "2", "3", "4")
	})
}

func TestAReleaseThatIsRepeatedIsAnsweredOnceItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, w, reader := wiredNodes(t, 2)
		c := a.connect("client", durable)
		require.NoError(t, c.send(1, "t/x", "1"))
		w.cut()
		answers := make(chan error, 2)
		for range 2 { // the second one as over a newer connection of the client
			c.s.Release(1, func(_ bool, err error) { answers <- err })
		}
		pass(time.Second)
		require.Empty(t, answers, "PUBCOMP lets the client use the packet id again")
		now := b.connect("client", durable)
		known, err := now.release(1)
		require.NoError(t, err)
		require.True(t, known)
		require.NoError(t, now.send(1, "t/x", "2"))
		reader.gets("1", "2")
		w.mend()
	})
}

func TestASessionIsNotResumedWithoutTheStateOfItsQoS2Messages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, reader := wiredNodes(t, 2)
		c := b.connect("client", durable)
		require.NoError(t, c.send(1, "t/x", "1"))
		c.drop()
		b.store.FailReads(store.ErrUnavailable)
		_, err := a.tryConnect("client", durable)
		require.ErrorIs(t, err, store.ErrUnavailable)
		b.store.FailReads(nil)
		c = a.connect("client", durable)
		require.NoError(t, c.send(1, "t/x", "1"), "the same again")
		require.NoError(t, c.send(2, "t/x", "2"))
		reader.gets("1", "2")
		c.drop()
		require.NoError(t, b.store.DeleteTopic(t.Context(), "t"))
		require.True(t, b.connect("client", durable).present, "its topic was deleted")
	})
}

func TestANodeThatStopsStoresWhatItWasSent(t *testing.T) {
	for _, names := range [][]string{nil, {"a"}} {
		var w *wire
		inVirtualTime(t, func(t *testing.T, n *node) {
			reader := n.connect("reader", durable)
			reader.subscribe(1, "t/#")
			c := n.connect("client", clean)
			w.cut()
			for _, payload := range []string{"1", "2", "3"} {
				c.begin(0, 0, "t/x", payload)
			}
			time.AfterFunc(time.Second, w.mend)
			n.restart()
			n.connect("reader", durable).gets("1", "2", "3")
		}, func(n *node) {
			n.id, n.named = "a", names
			n.wrap = func(s store.Store) store.Store { w = newWire(s); return w }
		})
	}
}

func TestASessionThatHasLeftANodeIsNotWrittenByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, w, reader := wiredNodes(t, 2)
		c := a.connect("client", durable)
		for id := uint16(1); id <= 3; id++ {
			require.NoError(t, c.send(id, "t/x", strconv.Itoa(int(id))))
		}
		old := c.s
		now := b.connect("client", durable)
		for id := uint16(1); id <= 3; id++ {
			_, err := now.release(id)
			require.NoError(t, err)
		}
		w.cut()
		failed := make(chan error, 1)
		old.states.Note(func(err error) { failed <- err })
		old.dirty()
		w.mend()
		require.ErrorIs(t, <-failed, errLost)
		pass(time.Minute)
		now.drop()
		back := a.connect("client", durable)
		require.NoError(t, back.send(1, "t/x", "4"), "the packet id is free")
		reader.gets("1", "2", "3", "4")
	})
}

func TestWhatWaitsOverAnOlderConnectionIsNotStoredEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, w, reader := wiredNodes(t, 2)
		id := "client"
		for i := 0; !a.o.Cluster.Decides(id); i++ {
			id = fmt.Sprint("client", i)
		}
		old := a.connect(id, durable)
		w.cut()
		lost := old.begin(2, 1, "t/x", "1")
		again := make(chan *client)
		go func() { c, _ := a.tryConnect(id, durable); again <- c }()
		now := b.connect(id, durable)
		for i, payload := range []string{"1", "2"} {
			require.NoError(t, now.send(uint16(i+1), "t/x", payload))
		}
		w.mend()
		require.ErrorIs(t, <-lost, publish.ErrEnded)
		<-again
		reader.gets("1", "2")
		pass(time.Minute)
		require.Zero(t, reader.waiting())
	})
}
