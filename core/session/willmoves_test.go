package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// These tests cover wills of clients that connect to another node or are refused there.

func TestARefusedClaimLeavesTheDelayedWillDue(t *testing.T) {
	inACluster(t, func(t *testing.T, a, _, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		ids := make([]string, 8) // enough that other nodes are in charge of some of them
		for i := range ids {
			ids[i] = fmt.Sprint("client", i)
			a.connect(ids[i], durable, will(ids[i], 10*time.Second)).drop()
		}
		pass(100 * time.Millisecond)
		a.store.FailAppends(store.ErrUnavailable) // so that no node answers
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		var refused []string
		for _, id := range ids {
			r := Request{ClientID: id, Version: packet.V5, ReceiveMaximum: 16, Expiry: time.Hour, Conn: &client{n: a, id: id}}
			if _, _, err := a.Connect(ctx, r); err != nil {
				refused = append(refused, id)
			}
			if ctx.Err() != nil {
				break
			}
		}
		cancel()
		a.store.FailAppends(nil)
		require.Len(t, refused, 1)
		pass(15 * time.Second)
		a.eventually("the will is published", func() bool {
			for reader.waiting() > 0 {
				if p := reader.next(); string(p.Payload) == refused[0] {
					return true
				}
			}
			return false
		})
	})
}

func TestTheDelayedWillOfASessionThatEndsOnAnotherNodeIsPublishedOnce(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		for name, again := range map[string][]func(*Request){
			"without a will": {durable, clean},
			"with another":   {durable, clean, will("the new one", time.Minute)},
			"for a moment":   {clean},
		} {
			a.connect("client", durable, will(name, 20*time.Second)).drop()
			pass(time.Second)
			now := b.connect("client", again...)
			require.False(t, now.present)
			reader.gets(name)
			pass(30 * time.Second) // longer than the will delay
			require.Zero(t, reader.waiting(), name)
			now.leave()
		}
		// The will is already published when the client connects to b.
		a.connect("client", durable, will("at once", 0)).drop()
		b.connect("client", durable, clean)
		reader.gets("at once")
		pass(time.Second)
		require.Zero(t, reader.waiting())
	})
}

func TestTheWillOfAnEarlierProcessIsPublishedWhereItsSessionEndsBeforeTheGraceIsOver(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("c", durable, will("left", 0))
		pass(time.Second)
		n.crash()
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		n.connect("c", durable, clean)
		watch.gets("left")
		pass(time.Minute)
		require.Zero(t, watch.waiting())
	})
}

func TestWillsOfANodeThatIsAMemberOfTheClusterStillWait(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		a.connect("client", durable, will("left", 0))
		b.NodeLost("a") // as if a had lost its connection to the metadata
		pass(time.Minute)
		require.Zero(t, reader.waiting(), "its client is connected")
		a.meta.fail(meta.ErrUnavailable)
		a.o.Cluster.Close()
		reader.gets("left")
		a.meta.fail(nil)
	})
}

func TestWillsOfALostNodeArePublishedByOneOfThoseThatLive(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		const clients = 10
		for i := range clients {
			a.connect(fmt.Sprint("client", i), durable, will("left", 0))
		}
		a.meta.fail(meta.ErrUnavailable)
		a.o.Cluster.Close()
		b.NodeLost("a")
		c.NodeLost("a")
		pass(time.Minute)
		for range clients {
			p := reader.next()
			reader.ack(p)
		}
		require.Zero(t, reader.waiting(), "wills that came twice")
		a.meta.fail(nil)
	})
}

func TestAWillThatTheStoreDoesNotTakeIsPublishedOnceItDoes(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		reader := n.connect("reader")
		reader.subscribe(1, "wills/#")
		n.store.FailAppends(store.ErrUnavailable)
		n.connect("gone", durable, will("gone", 0)).drop()
		n.connect("back", durable, will("back", 0)).drop()
		pass(time.Minute)
		n.connect("back", durable)
		pass(willTimeout) // the attempt that was under way is over
		n.store.FailAppends(nil)
		reader.gets("gone")
		pass(time.Minute)
		require.Zero(t, reader.waiting())
	})
}

func TestADelayedWillIsPublishedThoughItsClientWasRefusedMeanwhile(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		reader := n.connect("reader")
		reader.subscribe(1, "wills/#")
		n.connect("client", durable, will("left", 20*time.Second)).drop()
		pass(time.Second)
		n.meta.onSave(func(*meta.Session) error { return meta.ErrUnavailable })
		_, err := n.tryConnect("client", durable)
		require.Error(t, err)
		n.meta.onSave(nil)
		pass(15 * time.Second)
		require.Zero(t, reader.waiting())
		reader.gets("left")
	})
}

func TestADelayedWillIsPublishedThoughItsClientWasRefusedOnAnotherNode(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		refused := func(name string) {
			conn := a.connect("client", durable, will(name, 20*time.Second))
			b.meta.fail(meta.ErrUnavailable)
			_, err := b.tryConnect("client", durable)
			require.Error(t, err)
			require.True(t, conn.isClosed())
			b.meta.fail(nil)
			pass(15 * time.Second)
			require.Zero(t, reader.waiting())
		}
		refused("left")
		a.meta.fail(meta.ErrUnavailable) // nobody can tell whether the client is back
		pass(time.Minute)
		require.Zero(t, reader.waiting())
		a.meta.fail(nil)
		reader.gets("left")
		refused("ended")
		a.connect("client", durable, clean)
		reader.gets("ended")
		pass(time.Minute)
		require.Zero(t, reader.waiting())
	})
}
