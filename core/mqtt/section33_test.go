package mqtt_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Section 3.3: PUBLISH. The rest of the handshakes is in section43_test.go.

// Proves 3.1.1: [MQTT-3.3.1-1] [MQTT-3.3.1-3]
// Proves 5.0: [MQTT-3.3.1-1] [MQTT-3.3.1-3]
func TestTheDUPFlagOfAPublisherIsNotPassedOn(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		c := n.Connect(v, "c", kind)
		c.Subscribe(2, "T/#")
		pub := n.Connect(v, "pub")
		for qos := byte(1); qos <= 2; qos++ {
			pub.PublishPacket(&packet.Publish{Topic: "T/a", QoS: qos, Dup: true, Retain: true, Payload: []byte("dup")})
			p := c.ExpectPublish("T/a", "dup")
			require.False(t, p.Dup)
			c.Ack(p)
			late := n.Connect(v, "late")
			late.Subscribe(2, "T/#")
			require.False(t, late.ExpectPublish("T/a", "dup").Dup)
			late.Close()
		}
	})
}

// Proves 3.1.1: [MQTT-3.3.1-5] [MQTT-3.3.1-7]
// Proves 5.0: [MQTT-3.3.1-5]
func TestARetainedMessageOfAnyQoSReplacesTheOldOneAndKeepsItsQoS(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub, live := n.Connect(v, "pub"), n.Connect(v, "live")
		live.Subscribe(2, "T/a")
		for _, qos := range []byte{2, 0, 1, 0, 2} {
			payload := "of QoS " + strconv.Itoa(int(qos))
			pub.Retain(qos, "T/a", payload)
			live.Ack(live.ExpectPublish("T/a", payload)) // so that later subscribers get it only as a retained message
			mqtttest.Eventually(t, "it is retained", func() bool {
				c := n.Connect(v, "c")
				defer c.Close()
				c.Subscribe(2, "T/a")
				for _, p := range c.Ping() {
					if p, ok := p.(*packet.Publish); ok && string(p.Payload) == payload {
						require.Equal(t, qos, p.QoS)
						require.True(t, p.Retain)
						return true
					}
				}
				return false
			})
		}
	})
}

// Proves 3.1.1: [MQTT-3.1.2-7]
// Proves 5.0: [MQTT-3.3.1-8]
func TestARetainedMessageOutlivesTheSessionThatPublishedIt(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		live := n.Connect(v, "live")
		live.Subscribe(0, "T/a")
		pub := n.Connect(v, "pub", kind)
		pub.Retain(1, "T/a", "kept")
		pub.Publish(1, "T/a", "passing")
		live.ExpectPublish("T/a", "kept")
		live.ExpectPublish("T/a", "passing")
		pub.Disconnect()
		n.Connect(v, "pub").Disconnect() // discards the session, if there was one
		c := n.Connect(v, "c")
		c.Subscribe(1, "T/a")
		require.True(t, c.ExpectPublish("T/a", "kept").Retain)
		require.Empty(t, c.Ping())
	})
}

// Proves 3.1.1: [MQTT-4.7.3-3]
// Proves 5.0: [MQTT-4.7.3-3]
func TestTopicsAndFiltersMayBeLongAndNothingIsCutOff(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		name := "T/" + strings.Repeat("x", 8<<10-2) // the server's own limit
		c.Subscribe(1, name)
		c.Publish(1, name[:len(name)-1], "shorter")
		c.Publish(1, name, "whole")
		c.ExpectPublish(name, "whole")
		// 65,535 bytes can be encoded but exceed this limit: the topic is refused, not truncated.
		longest := "T/" + strings.Repeat("y", 65533)
		want := packet.TopicFilterInvalid
		if v == packet.V311 {
			want = 0x80
		}
		require.Equal(t, []packet.Code{want}, c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: longest, QoS: 1}}}))
		c.Send(&packet.Publish{Topic: longest, QoS: 1, PacketID: 77})
		c.ExpectDisconnect(packet.TopicNameInvalid)
	})
}

// Each property of a message is sent alone and with extreme values.
//
// Proves 5.0: [MQTT-3.3.2-4] [MQTT-3.3.2-13] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-19] [MQTT-3.3.2-20]
func TestEachPropertyReachesTheSubscriberAlsoAtItsBounds(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	c.Subscribe(2, "T/#")
	pub := n.Connect(packet.V5, "pub")
	many := make([]packet.UserProperty, 500)
	for i := range many {
		many[i] = packet.UserProperty{Key: strconv.Itoa(i % 7), Value: strconv.Itoa(i)}
	}
	for name, p := range map[string]packet.Properties{
		"payload format 0":         {PayloadFormat: new(byte(0))},
		"payload format 1":         {PayloadFormat: new(byte(1))},
		"empty content type":       {ContentType: new("")},
		"long content type":        {ContentType: new(strings.Repeat("c", 65535))},
		"response topic":           {ResponseTopic: new("R/ä/$x")},
		"long response topic":      {ResponseTopic: new("R/" + strings.Repeat("r", 8000))},
		"empty correlation data":   {CorrelationData: []byte{}},
		"long correlation data":    {CorrelationData: make([]byte, 65535)},
		"empty user property":      {User: []packet.UserProperty{{}}},
		"long user property":       {User: []packet.UserProperty{{Key: strings.Repeat("k", 65535), Value: strings.Repeat("v", 65535)}}},
		"five hundred, with twins": {User: many},
	} {
		for qos := byte(0); qos <= 2; qos++ {
			pub.PublishPacket(&packet.Publish{Topic: "T/a", QoS: qos, Payload: []byte(name), Properties: &p})
			got := c.ExpectPublish("T/a", name)
			require.Equal(t, &p, got.Properties, name)
			c.Ack(got)
		}
	}
}

// Proves 5.0: [MQTT-3.3.2-5] [MQTT-4.3.3-7] [MQTT-4.3.3-13]
func TestAHandshakeThatHasBegunIsCompletedAfterTheMessageHasExpired(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	c.Subscribe(2, "T/#")
	pub := n.Connect(packet.V5, "pub")
	pub.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 5, Payload: []byte("x"), Properties: &packet.Properties{MessageExpiryInterval: new(uint32(3))}})
	pub.ExpectAck(packet.PUBREC, 5, packet.Success)
	p := c.ExpectPublish("T/a", "x")
	begin := time.Now()
	mqtttest.Eventually(t, "it has expired", func() bool { return time.Since(begin) > 3100*time.Millisecond })
	// As the receiver of the publisher's message.
	pub.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 5, Dup: true, Payload: []byte("x"), Properties: &packet.Properties{MessageExpiryInterval: new(uint32(3))}})
	pub.ExpectAck(packet.PUBREC, 5, packet.Success)
	release(pub, 5)
	// As the sender to the subscriber.
	c.Ack(p)
	pub.Publish(2, "T/a", "end")
	c.ExpectPublish("T/a", "end")
}

// Proves 5.0: [MQTT-3.3.2-7] [MQTT-3.3.2-12]
func TestEveryTopicAliasUpToTheServersMaximumIsTaken(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(1, "T/#")
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	most := *c.Connack.Properties.TopicAliasMaximum
	for round := range 2 {
		for a := uint16(1); a <= most; a++ {
			name := "T/" + strconv.Itoa(int(a))
			p := &packet.Publish{QoS: 1, Payload: []byte("x"), Properties: &packet.Properties{TopicAlias: &a}}
			if round == 0 {
				p.Topic = name
			}
			c.PublishPacket(p)
			sub.Ack(sub.ExpectPublish(name, "x"))
		}
	}
	c.Close()
	c = n.Connect(packet.V5, "c", mqtttest.Keep) // the session is resumed, the aliases are not
	c.Send(&packet.Publish{QoS: 1, PacketID: 1, Payload: []byte("x"), Properties: &packet.Properties{TopicAlias: new(uint16(1))}})
	c.ExpectDisconnect(packet.ProtocolError)
}
