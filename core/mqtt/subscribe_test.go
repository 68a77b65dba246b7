package mqtt_test

import (
	"fmt"
	"slices"
	"strings"

	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// eachSession runs a test with each version, and with both clean and persistent sessions.
func eachSession(t *testing.T, f func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option)) {
	t.Run("clean", func(t *testing.T) {
		eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) { f(t, n, v, func(*packet.Connect) {}) })
	})
	t.Run("persistent", func(t *testing.T) {
		eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) { f(t, n, v, mqtttest.Keep) })
	})
}

// Proves 3.1.1: [MQTT-3.3.2-3] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
// Proves 5.0: [MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
func TestFiltersMatchTheTopicsThatTheTextSaysTheyDo(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		names := []string{"T", "T/a", "T/a/", "T//a", "/T", "/T/a", "//a", "/", "T/a/b", "T/a/b/c", "t/a", "T/ä", "T/a b", "$S/a", "$S/a/b",
			"/p2p/x", "T/%a", "T/a,b", "sensor.1/a"}
		pub := n.Connect(v, "pub")
		for filter, want := range map[string][]string{
			"#":      {"T", "T/a", "T/a/", "T//a", "/T", "/T/a", "//a", "/", "T/a/b", "T/a/b/c", "t/a", "T/ä", "T/a b", "/p2p/x", "T/%a", "T/a,b", "sensor.1/a"},
			"+":      {"T"},
			"+/a":    {"T/a", "t/a", "sensor.1/a"},
			"/+":     {"/T", "/"},
			"/+/a":   {"/T/a", "//a"},
			"/#":     {"/T", "/T/a", "//a", "/", "/p2p/x"},
			"+/+":    {"T/a", "/T", "/", "t/a", "T/ä", "T/a b", "T/%a", "T/a,b", "sensor.1/a"},
			"T/#":    {"T", "T/a", "T/a/", "T//a", "T/a/b", "T/a/b/c", "T/ä", "T/a b", "T/%a", "T/a,b"},
			"T/+":    {"T/a", "T/ä", "T/a b", "T/%a", "T/a,b"},
			"T/a":    {"T/a"},
			"T/a/":   {"T/a/"},
			"T/a/+":  {"T/a/", "T/a/b"},
			"T/+/+":  {"T/a/", "T//a", "T/a/b"},
			"T//a":   {"T//a"},
			"T/a/#":  {"T/a", "T/a/", "T/a/b", "T/a/b/c"},
			"$S/#":   {"$S/a", "$S/a/b"},
			"$S/+":   {"$S/a"},
			"/":      {"/"},
			"T/%a":   {"T/%a"},
			"+/a,b":  {"T/a,b"},
			"T/a b":  {"T/a b"},
			"/p2p/+": {"/p2p/x"},
		} {
			c := n.Connect(v, "c", kind)
			c.Subscribe(1, filter)
			// A message that was acknowledged just before SUBSCRIBE may still arrive, so the payload names the filter.
			for _, name := range names {
				pub.Publish(1, name, filter+" "+name)
			}
			var got []string
			take := func(p *packet.Publish) {
				if strings.HasPrefix(string(p.Payload), filter+" ") {
					require.Equal(t, filter+" "+p.Topic, string(p.Payload))
					got = append(got, p.Topic)
				}
				c.Ack(p)
			}
			for len(got) < len(want) {
				take(mqtttest.Expect[*packet.Publish](c))
			}
			for _, extra := range c.Ping() {
				if p, ok := extra.(*packet.Publish); ok {
					take(p)
				}
			}
			require.ElementsMatch(t, want, got, "filter %q", filter)
			c.Unsubscribe(filter)
			c.Disconnect()
			n.Connect(v, "c").Disconnect()
		}
	})
}

// Proves 3.1.1: [MQTT-3.3.5-1]
// Proves 5.0: [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
func TestOverlappingFiltersBringOneCopyAtTheHighestQoSWithEveryIdentifier(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c", kind)
		for i, f := range []packet.Subscription{{Filter: "T/#", QoS: 0}, {Filter: "T/+", QoS: 2}, {Filter: "T/a", QoS: 1}, {Filter: "#", QoS: 1}, {Filter: "U/a", QoS: 2}} {
			s := &packet.Subscribe{Filters: []packet.Subscription{f}}
			if f.Filter != "T/a" {
				s.Properties = &packet.Properties{SubscriptionIdentifiers: []uint32{uint32(100 + i)}}
			}
			c.SubscribeTo(s)
		}
		for i := range 50 {
			pub.Publish(2, "T/a", fmt.Sprint(i))
		}
		var open []*packet.Publish
		for i := range 50 {
			p := c.ExpectPublish("T/a", fmt.Sprint(i))
			require.EqualValues(t, 2, p.QoS)
			if v == packet.V5 {
				ids := slices.Sorted(slices.Values(p.Properties.SubscriptionIdentifiers))
				require.Equal(t, []uint32{100, 101, 103}, ids)
			}
			open = append(open, p)
		}
		require.Empty(t, c.Ping())
		for _, p := range open {
			c.Ack(p)
		}
	})
}

// Proves 3.1.1: [MQTT-2.3.1-7] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-4.7.1-2] [MQTT-4.7.1-3]
// Proves 5.0: [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
func TestSubackHasACodeForEachFilterInOrder(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		filters := []packet.Subscription{{Filter: "T/a", QoS: 0}, {Filter: "T/#/b", QoS: 1}, {Filter: "T/b", QoS: 1}, {Filter: "T/b+", QoS: 1},
			{Filter: "T/c", QoS: 2}, {Filter: "a#", QoS: 2}, {Filter: "+a/b"}, {Filter: "T/a", QoS: 2}, {Filter: "$share/g/T/d", QoS: 1},
			{Filter: "$share//T/a"}, {Filter: "$share/g"}, {Filter: "$share/g/"}, {Filter: "$share/g+/T/a"}, {Filter: "$share/#/T/a"}, {Filter: "$share/g/T/#/b"}}
		invalid := packet.TopicFilterInvalid
		if v == packet.V311 {
			invalid = 0x80
		}
		codes := c.SubscribeTo(&packet.Subscribe{PacketID: 65535, Filters: filters})
		require.Equal(t, []packet.Code{0, invalid, 1, invalid, 2, invalid, invalid, 2, 1, invalid, invalid, invalid, invalid, invalid, invalid}, codes)
		n.Connect(v, "pub").Publish(2, "T/a", "x")
		require.EqualValues(t, 2, c.ExpectPublish("T/a", "x").QoS, "the later of two equal filters holds")
		bad := n.Connect(v, "bad")
		bad.SendRaw(bad.Encode(nil, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "\xff"}}})...)
		bad.ExpectDisconnect(packet.MalformedPacket)
	})
}

// Proves 3.1.1: [MQTT-3.8.4-3] [MQTT-3.8.4-6]
// Proves 5.0: [MQTT-3.8.4-3] [MQTT-3.8.4-8]
func TestASubscriptionToTheSameFilterReplacesTheOldOne(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c", kind)
		for _, qos := range []byte{2, 0, 1} {
			c.Subscribe(qos, "T/a")
			pub.Publish(2, "T/a", "x")
			p := c.ExpectPublish("T/a", "x")
			require.Equal(t, qos, p.QoS)
			c.Ack(p)
		}
		require.Empty(t, c.Ping())
	})
}

// Proves 3.1.1: [MQTT-2.3.1-7] [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-3] [MQTT-3.10.4-4] [MQTT-3.10.4-6]
// Proves 5.0: [MQTT-2.2.1-6] [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-3] [MQTT-3.10.4-4] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
func TestUnsubscribeEndsExactlyItsFilters(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c", kind)
		c.Subscribe(1, "T/a", "T/+", "T/b")
		pub.Publish(1, "T/b", "open")
		open := c.ExpectPublish("T/b", "open")
		codes := c.Unsubscribe("T/+", "T/#", "T/b", "T/b")
		if v == packet.V5 {
			no := packet.NoSubscriptionExisted
			require.Equal(t, []packet.Code{packet.Success, no, packet.Success, no}, codes)
		}
		c.Ack(open) // a handshake that has begun can be finished
		pub.Publish(1, "T/b", "no")
		pub.Publish(1, "T/a", "yes")
		c.Ack(c.ExpectPublish("T/a", "yes"))
		require.Empty(t, c.Ping())
		c.Subscribe(1, "T/b")
		pub.Publish(1, "T/b", "again")
		c.ExpectPublish("T/b", "again")
	})
}

// Proves 5.0: [MQTT-3.1.2-23]
func TestSubscriptionsAndTheirOptionsSurviveRestart(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.SubscribeTo(&packet.Subscribe{Properties: &packet.Properties{SubscriptionIdentifiers: []uint32{7}},
		Filters: []packet.Subscription{{Filter: "T/#", QoS: 1, NoLocal: true, RetainAsPublished: true}}})
	c.Subscribe(1, "U/a")
	c.Unsubscribe("U/a")
	n.Crash()
	n.Restart()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	pub := n.Connect(packet.V5, "pub")
	c.Publish(1, "T/a", "own")
	pub.Publish(1, "U/a", "not any more")
	pub.Retain(2, "T/a", "x")
	p := c.ExpectPublish("T/a", "x")
	require.EqualValues(t, 1, p.QoS)
	require.True(t, p.Retain)
	require.Equal(t, []uint32{7}, p.Properties.SubscriptionIdentifiers)
}

// A message to {first}/p2p/{clientId} reaches only that client, whether or not it subscribes.
func TestPointToPointReachesItsClientAndNobodyElse(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		spy := n.Connect(v, "spy", kind)
		spy.Subscribe(1, "T/#", "#", "T/p2p/+", "+/p2p/c")
		c := n.Connect(v, "c", kind)
		other := n.Connect(v, "x", kind)
		for qos := byte(0); qos <= 2; qos++ {
			pub.Publish(qos, "T/p2p/c", "hi")
			p := c.ExpectPublish("T/p2p/c", "hi")
			require.Equal(t, qos, p.QoS)
			c.Ack(p)
		}
		pub.Publish(1, "U/p2p/c", "from another topic")
		c.Ack(c.ExpectPublish("U/p2p/c", "from another topic"))
		pub.Publish(1, "/p2p/x", "a topic like any")
		pub.Publish(1, "T/a", "end")
		var seen []string
		for range 2 {
			p := mqtttest.Expect[*packet.Publish](spy)
			seen = append(seen, p.Topic)
			spy.Ack(p)
		}
		require.ElementsMatch(t, []string{"/p2p/x", "T/a"}, seen, "no filter opens another client's messages")
		require.Empty(t, other.Ping())
		require.Empty(t, c.Ping())
	})
}

// Point-to-point messages are kept for a disconnected client, even across a crash.
func TestPointToPointWaitsForASleepingClient(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		pub.Publish(1, "T/p2p/c", "before the session")
		c := n.Connect(v, "c", mqtttest.Keep)
		pub.Publish(1, "T/p2p/c", "1")
		c.Ack(c.ExpectPublish("T/p2p/c", "1"))
		c.Disconnect()
		for i := range 40 {
			pub.Publish(1, "T/p2p/c", fmt.Sprint(i))
			pub.Publish(1, "/p2p/c", "not for its queue")
		}
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		for i := range 40 {
			c.Ack(c.ExpectPublish("T/p2p/c", fmt.Sprint(i)))
		}
		require.Empty(t, c.Ping())
	})
}
