package mqtt_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// sysNode starts a node that publishes two topics below $SYS. The test sets the value of one of them, and whether clients are allowed to
// use topics.
func sysNode(t *testing.T, allowed *atomic.Bool) (*mqtttest.Node, *atomic.Value) {
	t.Helper()
	var clients atomic.Value
	clients.Store("1")
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.MQTT.SysInterval = 10 * time.Millisecond
		c.MQTT.Sys = func() []mqtt.SysValue {
			return []mqtt.SysValue{{Topic: "$SYS/broker/version", Payload: "v"}, {Topic: "$SYS/broker/clients", Payload: clients.Load().(string)}}
		}
		c.Authority = &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return allowed.Load() }}
	})
	return n, &clients
}

// until receives messages until one comes that has the payload and no retain flag.
func until(c *mqtttest.Client, payload string) *packet.Publish {
	for {
		if p := mqtttest.Expect[*packet.Publish](c); string(p.Payload) == payload && !p.Retain {
			return p
		}
	}
}

func TestWhoSubscribesToSysIsSentTheValuesAndWhatChanges(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	allowed.Store(true)
	n, clients := sysNode(t, &allowed)
	for _, version := range []packet.Version{packet.V311, packet.V5} {
		clients.Store("1")
		c := n.Connect(version, "c")
		c.Subscribe(0, "#") // does not match $SYS
		require.Equal(t, []packet.Code{0}, c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "$SYS/broker/+", QoS: 1}}}))
		first := c.ExpectPublish("$SYS/broker/version", "v")
		require.True(t, first.Retain)
		c.ExpectPublish("$SYS/broker/clients", "1")
		clients.Store("2")
		until(c, "2")
		c.Unsubscribe("$SYS/broker/+")
		clients.Store("3")
		c.Publish(0, "T/last", "3")
		require.Equal(t, "T/last", until(c, "3").Topic)
		c.Close()
	}
}

func TestSysIsReadByThoseWithTheRightAndAsLongAsTheyHaveIt(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	n, clients := sysNode(t, &allowed)
	c := n.Connect(packet.V5, "c")
	ask := func(filter string) packet.Code {
		return c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: filter}}})[0]
	}
	require.Equal(t, packet.NotAuthorized, ask("$SYS/#"))
	allowed.Store(true)
	require.Equal(t, packet.SharedSubscriptionsNotSupported, ask("$share/g/$SYS/broker/#"))
	require.Equal(t, packet.Success, ask("$SYS/broker/clients"))
	c.ExpectPublish("$SYS/broker/clients", "1")
	allowed.Store(false)
	clients.Store("2")
	mqtttest.Eventually(t, "the subscription has ended", func() bool {
		return c.Unsubscribe("$SYS/broker/clients")[0] == packet.NoSubscriptionExisted
	})
}

func TestNobodyPublishesToSys(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	c.Send(&packet.Publish{Topic: "$SYS/broker/version", QoS: 1, PacketID: 1, Payload: []byte("mine")})
	c.ExpectAck(packet.PUBACK, 1, packet.TopicNameInvalid)
	require.Equal(t, packet.TopicFilterInvalid, c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "$SYS/broker/#"}}})[0],
		"it is switched off here")
	old := n.Connect(packet.V311, "old")
	old.Send(&packet.Publish{Topic: "$SYS/broker", QoS: 1, PacketID: 1})
	old.ExpectClosed()
	require.Equal(t, packet.TopicNameInvalid, n.Dial(packet.V5).TryConnect("willed", func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: "$SYS/broker/x"}
	}).Code)
	c.Publish(1, "$SYSTEM/x", "another first level")
}

func TestOtherTopicsBelowSysAreTopicsLikeOthers(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	allowed.Store(true)
	node, _ := sysNode(t, &allowed)
	for name, n := range map[string]*mqtttest.Node{"with $SYS": node, "without": mqtttest.Start(t)} {
		c, all := n.Connect(packet.V5, "c"), n.Connect(packet.V311, "all")
		all.Subscribe(1, "#", "+/test")
		c.Subscribe(1, "$SYS/#", "$SYS/brokers/+")
		for len(c.Ping()) > 0 { // read the current values
		}
		c.Publish(1, "$SYS/test", "1")
		until(c, "1")
		c.Publish(1, "$SYS/brokers/1", "2")
		until(c, "2")
		require.Empty(t, all.Ping(), name) // [MQTT-4.7.2-1]
		c.Unsubscribe("$SYS/#")
		c.Publish(1, "$SYS/test", "3")
		require.Empty(t, c.Ping(), name)
	}
}
