package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/catalog"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

func on(broker string) func(*brokerSet) { return func(c *brokerSet) { c.next = broker } }

func TestABrokerThatJoinsIsReadFromItsBeginning(t *testing.T) {
	for _, how := range []string{"while the client is connected", "while it sleeps"} {
		t.Run(how, func(t *testing.T) {
			var brokers *brokerSet
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", durable)
				c.subscribe(1, "T/+", "#")
				n.publish(1, "T/a", "0")
				c.gets("0")
				pass(2 * brokersInterval)
				if how == "while it sleeps" {
					c.leave()
				}
				brokers.add(t, "second")
				brokers.set(on("second"))
				n.publish(1, "T/a", "1")
				n.publish(1, "T/a", "2")
				if how == "while it sleeps" {
					c = n.connect("c", durable)
				}
				c.gets("1", "2")
				n.eventually("each queue is read", func() bool {
					c.s.mu.Lock()
					defer c.s.mu.Unlock()
					return len(c.s.subs["T/+"].starts) == 2 && len(c.s.p2p) == 2
				})
				n.publish(1, "T/p2p/c", "to c")
				c.gets("to c")
				c.leave()
				c = n.connect("c", durable)
				n.publish(1, "T/a", "3")
				c.gets("3")
			}, inCluster(&brokers, store.Limits{}))
		})
	}
}

func TestABrokerThatIsDownHoldsUpOnlyItsOwnMessages(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		brokers.add(t, "second")
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		brokers.set(on("second"))
		n.publish(1, "T/a", "on the second")
		c.gets("on the second")
		c.leave()
		n.publish(1, "T/a", "missed on the second")
		brokers.set(on("local"))
		n.publish(1, "T/a", "missed on the first")
		brokers.set(func(c *brokerSet) { c.down["second"] = true })
		c = n.connect("c", durable)
		c.gets("missed on the first")
		n.publish(1, "T/a", "more")
		c.gets("more")
		pass(time.Minute)
		brokers.set(func(c *brokerSet) { c.down["second"] = false })
		c.gets("missed on the second")
	}, inCluster(&brokers, store.Limits{}))
}

func TestASubscriptionIsGrantedWhileOneOfTwoBrokersIsDown(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		brokers.add(t, "second")
		c := n.connect("c", durable)
		pass(3 * time.Second) // until the start offsets of the point-to-point queues are committed
		brokers.set(func(c *brokerSet) { c.down["second"] = true })
		c.subscribe(1, "T/+")
		n.publish(1, "T/a", "1")
		c.gets("1")
		pass(time.Minute)
		brokers.set(func(c *brokerSet) { c.down["second"], c.next = false, "second" })
		n.publish(1, "T/a", "2")
		c.gets("2")
	}, inCluster(&brokers, store.Limits{}))
}

func TestWhereQueuesHaveOneFeederAFilterOfEveryTopicHasAQueueForEach(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.publish(0, "T/a", "before")
		c := n.connect("c", durable)
		c.subscribe(1, "+/a")
		n.publish(1, "T/a", "1")
		c.gets("1")
		n.publish(1, "U/a", "2") // U is a new topic
		n.TopicsChanged()
		c.gets("2")
		n.eventually("the new topic's queue is read", func() bool {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			return len(c.s.subs["+/a"].starts) == 2
		})
		c.leave()
		n.publish(1, "U/a", "3")
		n.publish(1, "V/a", "4")
		n.restart()
		c = n.connect("c", durable)
		c.gets("3", "4")
		c.s.Unsubscribe(context.Background(), []string{"+/a"})
	}, inCluster(&brokers, store.Limits{SingleFeeder: true}))
}

func TestWhetherATopicHasGrown(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.publish(0, "T/a", "m")
		known := map[string]int{}
		require.True(t, n.grown(known, "T"), "it was not asked about before")
		require.False(t, n.grown(known, "T"))
		brokers.add(t, "second")
		require.True(t, n.grown(known, "T"))
		require.False(t, n.grown(known, "T"))
		brokers.set(func(c *brokerSet) { c.fails = store.ErrUnavailable })
		require.False(t, n.grown(known, "T"))
		brokers.set(func(c *brokerSet) { c.fails, c.limits.SingleFeeder = nil, true })
		require.True(t, n.grown(known, ""))
		n.publish(0, "U/a", "m")
		require.True(t, n.grown(known, ""), "one topic more")
	}, inCluster(&brokers, store.Limits{}))
}

func TestTheKeysOfStartsNameTheirQueues(t *testing.T) {
	for _, c := range []struct {
		filter string
		ref    store.QueueRef
		key    string
	}{
		{"T/a", store.QueueRef{Queue: topic.Queue("T/a"), Broker: "b1"}, "b1"},
		{"#", store.QueueRef{Queue: topic.RootQueue("T", topic.Queue("#")), Broker: "b1"}, "b1/" + topic.RootQueue("T", topic.Queue("#"))},
	} {
		require.Equal(t, c.key, startKey(c.filter, c.ref))
		require.Equal(t, c.ref, refOf(c.filter, c.key))
	}
}

func TestASessionOfAnUpstreamGatewayGoesOnWhereItLeftOff(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		ref := store.QueueRef{Queue: topic.Queue("T/a"), Broker: "local"}
		n.publish(1, "T/a", "acknowledged there", "missed")
		require.NoError(t, n.store.Commit(context.Background(), "c", 0, []store.Offset{{QueueRef: ref, Next: 1}}))
		c := n.connect("c", durable)
		c.subscribe(1, "T/a")
		c.gets("missed")
	}, func(n *node) { n.topics.Dispatch = catalog.Compatible })
}

func TestAnUnknownTopicIsRefused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for _, kind := range []func(*Request){durable, clean} {
			c := n.connect("c", kind)
			require.Equal(t, []packet.Code{packet.TopicFilterInvalid, packet.TopicFilterInvalid}, c.trySubscribe(1, "T/a", "$share/g/T/a"))
		}
	}, func(n *node) { n.topics.AutoCreate = false })
}

func TestASubscriptionWhoseTopicWasDeletedStaysQuiet(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		require.NoError(t, n.store.CreateTopic(context.Background(), "T", 1))
		require.NoError(t, n.meta.AddTopic(context.Background(), "T"))
		require.NoError(t, n.store.CreateTopic(context.Background(), "U", 1))
		require.NoError(t, n.meta.AddTopic(context.Background(), "U"))
		c := n.connect("c", durable)
		c.subscribe(1, "T/a", "U/a", "$share/g/T/a")
		c.leave()
		require.NoError(t, n.store.DeleteTopic(context.Background(), "T"))
		require.NoError(t, n.meta.RemoveTopic(context.Background(), "T"))
		n.restart()
		c = n.connect("c", durable)
		n.publish(1, "U/a", "m")
		c.gets("m")
	}, func(n *node) { n.topics.AutoCreate = false })
}
