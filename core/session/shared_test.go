package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

func TestARecordOfAGroupGoesToOneMember(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a, b := n.connect("a", clean), n.connect("b", durable)
		a.subscribeTo(subscription5("$share/g/T/+", 1, 5))
		b.subscribe(2, "$share/g/T/+")
		for range 40 {
			n.publish(2, "T/a", "m")
		}
		n.eventually("all are there", func() bool {
			for _, c := range []*client{a, b} {
				for c.waiting() > 0 {
					c.ack(c.next())
				}
			}
			return a.read+b.read == 40
		})
		require.Equal(t, []uint32{5}, a.sent[0].Properties.SubscriptionIdentifiers)
		pass(time.Minute)
		require.Equal(t, 40, len(a.sent)+len(b.sent))
	})
}

func TestWhatAMemberDidNotAcknowledgeGoesToAnother(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", clean)
		a.subscribe(1, "$share/g/T/+")
		n.publish(1, "T/a", "1", "2")
		require.Equal(t, "1", string(a.next().Payload))
		require.Equal(t, "2", string(a.next().Payload))
		b := n.connect("b", clean)
		b.subscribe(1, "$share/g/T/+")
		a.drop()
		b.gets("1", "2")
		require.Equal(t, []packet.Code{packet.Success}, b.s.Unsubscribe(context.Background(), []string{"$share/g/T/+"}))
		require.False(t, n.InUse("$share/g/T/+"))
	})
}

func TestAQoS2MessageOfAGroupStaysItsMembers(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", durable)
		a.subscribe(2, "$share/g/T/+")
		n.publish(2, "T/a", "1", "2", "3")
		first := []packet.Publish{a.next(), a.next(), a.next()}
		a.s.Ack(packet.PUBREC, first[0].PacketID, packet.Success)
		a.awaitAck(packet.PUBREL, first[0].PacketID)
		b := n.connect("b", clean)
		b.subscribe(2, "$share/g/T/+")
		a.drop()
		pass(time.Minute)
		require.Zero(t, b.waiting())
		a = n.connect("a", durable)
		a.awaitAck(packet.PUBREL, first[0].PacketID)
		a.s.Ack(packet.PUBCOMP, first[0].PacketID, packet.Success)
		a.gets("2")
		a.next()
		n.publish(2, "T/a", "4")
		a.leave()
		// When the session ends, the messages that it was sent are dropped: no other member gets them [MQTT-4.8.2-5].
		a = n.connect("a", clean)
		pass(time.Minute)
		for b.waiting() > 0 {
			require.Equal(t, "4", string(b.next().Payload))
		}
		require.Zero(t, a.waiting())
	})
}

func TestAMessageStaysItsMembersHoweverLongItTakes(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a, b := n.connect("a", clean), n.connect("b", durable)
		a.subscribe(1, "$share/g/T/+")
		n.publish(1, "T/a", "1", "2", "3", "4", "5")
		mine := []packet.Publish{a.next(), a.next(), a.next(), a.next(), a.next()}
		b.subscribe(2, "$share/g/T/+")
		// A QoS 2 message also stays with a disconnected session.
		require.Equal(t, []packet.Code{packet.Success}, a.s.Unsubscribe(context.Background(), []string{"$share/g/T/+"}))
		n.publish(2, "T/a", "twice")
		p := b.next()
		require.Equal(t, "twice", string(p.Payload))
		b.drop()
		c := n.connect("c", clean)
		c.subscribe(1, "$share/g/T/+")
		pass(50 * time.Minute) // many visibility timeouts
		require.Zero(t, c.waiting())
		for _, m := range mine {
			a.ack(m)
		}
		b = n.connect("b", durable)
		again := b.next()
		require.Equal(t, "twice", string(again.Payload))
		require.Equal(t, p.PacketID, again.PacketID)
		b.ack(again)
		pass(50 * time.Minute) // what the store does not know to be acknowledged would come again
		require.Zero(t, b.waiting()+c.waiting())
	})
}

func TestAMessageWhoseVisibilityTimeoutCouldNotBeExtendedComesToAnotherMemberToo(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", clean)
		a.subscribe(1, "$share/g/T/+")
		n.publish(1, "T/a", "both")
		p := a.next()
		n.store.FailGroups(store.ErrUnavailable)
		pass(10 * time.Minute)
		n.store.FailGroups(nil)
		b := n.connect("b", clean)
		b.subscribe(1, "$share/g/T/+")
		n.eventually("it comes again", func() bool { return a.waiting()+b.waiting() == 1 })
		for _, c := range []*client{a, b} {
			for c.waiting() > 0 {
				c.gets("both")
			}
		}
		a.ack(p)
		pass(10 * time.Minute)
		require.Zero(t, a.waiting()+b.waiting())
	})
}

func TestAMemberTakesNoMoreThanItHasRoomFor(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", clean, func(r *Request) { r.ReceiveMaximum = 2 })
		a.subscribe(1, "$share/g/T/+")
		n.publish(1, "T/a", "1", "2", "3", "4")
		one := &store.Message{Topic: "T/a", Payload: []byte("late"), QoS: 1, Expires: time.Now().Add(-time.Second)}
		require.NoError(t, n.pub.One(context.Background(), "p", one))
		p := a.next()
		a.next()
		pass(time.Second)
		require.Zero(t, a.waiting())
		a.ack(p)
		a.next()
		// Messages that do not fit the buffer are handed back.
		b := n.connect("b", clean)
		b.full, b.tooLarge = 1, 100
		b.subscribe(0, "$share/h/U/+")
		n.publish(0, "U/a", string(make([]byte, 100)))
		n.publish(1, "U/a", "1", "2", "3")
		b.gets("1")
		c := n.connect("c", clean)
		c.subscribe(0, "$share/h/U/+")
		c.gets("2", "3")
	})
}

func TestAGroupReadsTheQueuesOfBrokersThatJoin(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", clean)
		a.subscribe(1, "$share/g/T/+")
		n.publish(1, "T/a", "1")
		a.gets("1")
		pass(2 * brokersInterval)
		brokers.add(t, "second")
		brokers.set(on("second"))
		n.publish(1, "T/a", "2")
		a.gets("2")
	}, inCluster(&brokers, store.Limits{}))
}

func TestAMemberThatSleepsComesBackToItsGroup(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", durable)
		a.subscribe(1, "$share/g/T/+")
		a.leave()
		n.publish(1, "T/a", "1")
		brokers.set(func(c *brokerSet) { c.fails = store.ErrUnavailable })
		a = n.connect("a", durable)
		pass(time.Minute)
		require.Zero(t, a.waiting())
		brokers.set(func(c *brokerSet) { c.fails = nil })
		a.gets("1")
	}, inCluster(&brokers, store.Limits{}))
}

func TestAGroupThatCannotBePlacedIsRefused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		a := n.connect("a", durable)
		n.store.FailGroups(store.ErrTooLarge)
		require.Equal(t, []packet.Code{packet.TopicFilterInvalid}, a.trySubscribe(1, "$share/g/T/+"), "its name is too long")
		n.store.FailGroups(nil)
		n.store.FailReads(store.ErrUnavailable)
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, a.trySubscribe(1, "$share/g/T/+"))
		n.store.FailReads(nil)
		a.drop()
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, a.trySubscribe(1, "$share/g/T/+"), "nobody is there")
	})
}

func TestWhatIsKeptOfAGroupEndsWithIt(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ctx := context.Background()
		require.NoError(t, n.EndGroup(ctx, "T/+"), "no group")
		a := n.connect("a", clean)
		a.subscribe(1, "$share/g/T/+")
		a.leave()
		n.publish(1, "T/a", "1")
		require.NoError(t, n.EndGroup(ctx, "$share/g/T/+"), "it is registered: somebody uses it again")
		a = n.connect("a", clean)
		a.subscribe(1, "$share/g/T/+")
		a.gets("1")
		require.NoError(t, n.EndGroup(ctx, "$share/other/T/+"))
		n.store.FailGroups(store.ErrUnavailable)
		require.ErrorIs(t, n.EndGroup(ctx, "$share/other/T/+"), store.ErrUnavailable)
	})
}
