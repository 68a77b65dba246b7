package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Proves 3.1.1: [MQTT-3.3.1-6] [MQTT-3.3.1-8] [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.3.1-12]
// Proves 5.0: [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8] [MQTT-3.3.1-12]
func TestARetainedMessageIsSetReplacedAndDeleted(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub, live := n.Connect(v, "pub"), n.Connect(v, "live")
		live.Subscribe(1, "T/a")
		expect := func(payload string) {
			t.Helper()
			require.False(t, live.ExpectPublish("T/a", payload).Retain, "live deliveries do not carry the flag")
			c := n.Connect(v, "late")
			c.Subscribe(1, "T/a")
			if payload == "" {
				require.Empty(t, c.Ping())
			} else {
				p := c.ExpectPublish("T/a", payload)
				require.True(t, p.Retain)
				require.False(t, p.Dup)
				c.Ack(p)
			}
			c.Disconnect()
		}
		pub.Retain(1, "T/a", "1")
		expect("1")
		pub.Retain(2, "T/a", "2")
		expect("2")
		pub.Publish(1, "T/a", "not retained")
		live.ExpectPublish("T/a", "not retained")
		c := n.Connect(v, "late")
		c.Subscribe(1, "T/a")
		c.ExpectPublish("T/a", "2")
		c.Disconnect()
		pub.Retain(1, "T/a", "")
		expect("")
		pub.Retain(1, "T/a", "3")
		expect("3")
	})
}

// Proves 3.1.1: [MQTT-3.1.2-7]
func TestRetainedMessagesSurviveRestartAndCrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		pub.Retain(1, "T/a", "kept")
		pub.Retain(1, "T/b", "gone")
		pub.Retain(1, "T/b", "")
		for _, stop := range []func(){n.Stop, n.Crash} {
			stop()
			n.Restart()
			c := n.Connect(v, "c")
			c.Subscribe(1, "T/#")
			require.True(t, c.ExpectPublish("T/a", "kept").Retain)
			require.Empty(t, c.Ping())
		}
	})
}

// Proves 3.1.1: [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.8.4-3] [MQTT-3.8.4-6] [MQTT-4.7.2-1]
// Proves 5.0: [MQTT-3.3.1-9] [MQTT-3.8.4-4] [MQTT-3.8.4-8] [MQTT-4.7.2-1]
func TestRetainedMessagesMatchWildcardsAtTheGrantedQoSAtEverySubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		for i, name := range []string{"T/0", "T/1/x", "T/2", "U/0", "/T/0", "$S/0"} {
			pub.Retain(byte(i%3), name, name)
		}
		mqtttest.Eventually(t, "those of QoS 0 are retained too", func() bool {
			kept := 0
			for _, filter := range []string{"#", "$S/#"} {
				n.Meta.MatchRetained(filter, func(*meta.Retained) bool { kept++; return true })
			}
			return kept == 6
		})
		c := n.Connect(v, "c")
		for range 2 { // a repeated subscription gets them again
			for filter, want := range map[string][]string{
				"T/+":   {"T/0/0", "T/2/1"},
				"T/#":   {"T/0/0", "T/1/x/1", "T/2/1"},
				"+/0":   {"T/0/0", "U/0/0"},
				"#":     {"T/0/0", "T/1/x/1", "T/2/1", "U/0/0", "/T/0/1"},
				"/+/0":  {"/T/0/1"},
				"$S/#":  {"$S/0/1"},
				"T/+/+": {"T/1/x/1"},
			} {
				c.Subscribe(1, filter)
				got := make([]string, 0, len(want))
				for range want {
					p := mqtttest.Expect[*packet.Publish](c)
					require.True(t, p.Retain)
					require.Equal(t, p.Topic, string(p.Payload))
					got = append(got, fmt.Sprintf("%s/%d", p.Topic, p.QoS))
					c.Ack(p)
				}
				require.ElementsMatch(t, want, got, filter)
				require.Empty(t, c.Ping(), filter)
			}
		}
	})
}

// Proves 5.0: [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
func TestRetainHandlingChoosesWhenRetainedMessagesAreSent(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	n.Connect(packet.V5, "pub").Retain(1, "T/a", "x")
	c := n.Connect(packet.V5, "c")
	for _, s := range []struct {
		handling byte
		sent     bool
	}{{1, true}, {1, false}, {2, false}, {0, true}, {0, true}} {
		c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", QoS: 0, RetainHandling: s.handling}}})
		if s.sent {
			c.ExpectPublish("T/a", "x")
		}
		require.Empty(t, c.Ping(), "%+v", s)
	}
	c.Unsubscribe("T/a")
	c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", RetainHandling: 2}}})
	require.Empty(t, c.Ping())
	c.Unsubscribe("T/a")
	c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", RetainHandling: 1}}})
	c.ExpectPublish("T/a", "x")
}

// Proves 5.0: [MQTT-3.3.1-12] [MQTT-3.3.1-13]
func TestRetainAsPublishedKeepsTheFlag(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub, c := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "c")
	c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", RetainAsPublished: true}, {Filter: "T/b"}}})
	pub.Retain(1, "T/a", "1")
	require.True(t, c.ExpectPublish("T/a", "1").Retain)
	pub.Publish(1, "T/a", "2")
	require.False(t, c.ExpectPublish("T/a", "2").Retain)
	pub.Retain(1, "T/b", "3")
	require.False(t, c.ExpectPublish("T/b", "3").Retain)
}

// Proves 5.0: [MQTT-3.8.3-3]
func TestNoLocalKeepsAClientsOwnMessagesFromIt(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("persistent %t", keep), func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t)
			pub := n.Connect(packet.V5, "pub")
			c := n.Connect(packet.V5, "c")
			if keep {
				c = n.Connect(packet.V5, "k", mqtttest.Keep)
			}
			c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/#", QoS: 1, NoLocal: true}}})
			c.Publish(1, "T/a", "own")
			pub.Publish(1, "T/a", "other")
			c.ExpectPublish("T/a", "other")
		})
	}
}
