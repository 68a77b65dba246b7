package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// These tests rely on the race detector: records are encoded slowly while something else changes the session.

func TestTheFirstPubrecWithAnUnsubscribeBehindIt(t *testing.T) {
	inVirtualTime(t, func(_ *testing.T, n *node) {
		n.meta.onSave(encodeSlowly)
		for _, id := range []string{"a", "b", "c", "d"} {
			c := n.connect(id, durable)
			c.subscribe(2, "T/+", "U/+")
			n.publish(2, "T/a", "m")
			p := c.next()
			c.s.Ack(packet.PUBREC, p.PacketID, packet.Success)
			require.Equal(t, []packet.Code{packet.Success}, c.s.Unsubscribe(context.Background(), []string{"U/+"}))
			c.awaitAck(packet.PUBREL, p.PacketID)
			c.s.Ack(packet.PUBCOMP, p.PacketID, packet.Success)
			rec := n.record(id)
			require.Len(t, rec.Subscriptions, 1)
			require.Equal(t, "[]", rec.Attributes["qos2_topics"])
			c.leave()
		}
	})
}

func TestADisconnectionWhileTheJournalIsRecorded(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.meta.onSave(encodeSlowly)
		for _, id := range []string{"a", "b", "c", "d"} {
			c := n.connect(id, durable)
			c.subscribe(2, "T/+")
			n.publish(2, "T/a", "m")
			p := c.next()
			c.s.Ack(packet.PUBREC, p.PacketID, packet.Success)
			c.leave()
			require.False(t, n.record(id).Disconnected.IsZero())
		}
	})
}

func TestAReconnectWhileTheLastConnectionsQueuesAreStillBeingOpened(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(_ *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		n.publish(1, "T/a", "1")
		c.next() // in flight, so the session stays in memory
		c.drop()
		for range 5 {
			brokers.set(func(b *brokerSet) { b.fails = store.ErrUnavailable })
			c = n.connect("c", durable)
			again := time.Now().Add(retryDelay)
			c.drop()
			brokers.set(func(b *brokerSet) { b.busy = 5 })
			time.Sleep(time.Until(again)) // the second connection is looking for its queues now
			c = n.connect("c", durable)
			brokers.set(func(b *brokerSet) { b.busy, b.fails = 0, nil })
			c.drop()
		}
		c = n.connect("c", durable)
		n.publish(1, "T/a", "2")
		c.gets("1", "2")
	}, inCluster(&brokers, store.Limits{}))
}
