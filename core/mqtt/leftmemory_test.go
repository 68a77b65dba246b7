package mqtt_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// given waits until the node has so little memory in use for what clients leave in it.
func given(t *testing.T, n *mqtttest.Node, bytes int64) {
	t.Helper()
	mqtttest.Eventually(t, "the memory is given back", func() bool {
		runtime.GC()
		used, _ := n.Sessions.SubscriptionMemory()
		return used <= bytes
	})
}

func TestLongTopicAliasesTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.Session.SubscriptionMemory = &mqtttest.Rules{Name: "rules"}, 64<<10
	})
	long := func(i int) string { return fmt.Sprintf("T/%d/%s", i, strings.Repeat("x", 8000)) }
	alias := func(c *mqtttest.Client, a int, topic string) {
		c.Send(&packet.Publish{Topic: topic, Properties: &packet.Properties{TopicAlias: new(uint16(a))}})
	}
	greedy, other := n.Connect(packet.V5, "greedy", ofUser("greedy")), n.Connect(packet.V5, "other", ofUser("other"))
	for a := 1; a <= 64; a++ { // of an ordinary length
		alias(other, a, fmt.Sprintf("T/%d/%s", a, strings.Repeat("x", 100)))
	}
	require.Empty(t, other.Ping())
	used, _ := n.Sessions.SubscriptionMemory()
	require.Zero(t, used)
	for a := 1; a <= 4; a++ {
		alias(greedy, a, long(a))
	}
	for range 100 {
		alias(greedy, 1, long(5)) // again and again
	}
	require.Empty(t, greedy.Ping())
	for a := 5; a <= 7; a++ { // an identity has half of the memory
		_ = greedy.TrySendRaw(greedy.Encode(nil, &packet.Publish{Topic: long(a), Properties: &packet.Properties{TopicAlias: new(uint16(a))}})...)
	}
	greedy.ExpectDisconnect(packet.QuotaExceeded)
	for a := 1; a <= 3; a++ {
		alias(other, a, long(a))
	}
	require.Empty(t, other.Ping())
	other.Disconnect()
	given(t, n, 0)
	alias(n.Connect(packet.V5, "greedy", ofUser("greedy")), 1, long(1))
}

func TestLargeWillsAndLongNamesTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.Session.SubscriptionMemory = &mqtttest.Rules{Name: "rules"}, 300<<10
	})
	large := func(payload int, seconds uint32) mqtttest.Option {
		return mqtttest.Will(packet.Will{Topic: "W/a", Payload: make([]byte, payload), Properties: &packet.Properties{WillDelayInterval: &seconds}})
	}
	expiry := func(cn *packet.Connect) {
		cn.CleanStart, cn.Properties = false, &packet.Properties{SessionExpiryInterval: new(uint32(600))}
	}
	n.Connect(packet.V5, "a", ofUser("greedy"), expiry, large(60<<10, 600)).Close() // the will waits
	mqtttest.Eventually(t, "the connection has ended", func() bool { return n.Server.Connections() == 0 })
	n.Connect(packet.V5, strings.Repeat("i", 60<<10), ofUser("greedy"))
	require.Equal(t, packet.QuotaExceeded, n.Dial(packet.V5).TryConnect("c", ofUser("greedy"), large(60<<10, 0)).Code)
	require.Equal(t, packet.QuotaExceeded, n.Dial(packet.V5).TryConnect(strings.Repeat("k", 60<<10), ofUser("greedy")).Code)
	n.Connect(packet.V5, "small", ofUser("greedy"), large(500, 0))
	b := n.Connect(packet.V5, "b", ofUser("other"), large(60<<10, 0))
	n.Connect(packet.V5, "b", ofUser("other"), large(60<<10, 0))
	b.ExpectDisconnect(packet.SessionTakenOver)
	again := n.Connect(packet.V5, "a", ofUser("greedy"), expiry, large(60<<10, 600))
	require.True(t, again.Connack.SessionPresent, "who comes back needs no more than it has")
	again.Disconnect()
	given(t, n, 130<<10)
	n.Connect(packet.V5, "c", ofUser("greedy"), large(60<<10, 0))
}
