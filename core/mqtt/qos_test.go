package mqtt_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Proves 3.1.1: [MQTT-3.3.1-2] [MQTT-3.3.1-9] [MQTT-3.8.4-6] [MQTT-4.3.1-1]
// Proves 5.0: [MQTT-3.3.1-2] [MQTT-3.8.4-8] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
func TestDeliveredQoSIsTheLowerOfPublishedAndGranted(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		for granted := byte(0); granted <= 2; granted++ {
			c := n.Connect(v, "c"+strconv.Itoa(int(granted)))
			c.Subscribe(granted, "T/+")
			for published := byte(0); published <= 2; published++ {
				payload := strconv.Itoa(int(published))
				pub.Publish(published, "T/a", payload)
				p := c.ExpectPublish("T/a", payload)
				require.Equal(t, min(granted, published), p.QoS)
				require.False(t, p.Dup)
				require.False(t, p.Retain)
				c.Ack(p)
			}
			c.Disconnect()
		}
	})
}

// Proves 3.1.1: [MQTT-2.3.1-6] [MQTT-3.3.4-1] [MQTT-4.6.0-2] [MQTT-4.6.0-3]
// Proves 5.0: [MQTT-2.2.1-5] [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
func TestAcknowledgementsComeInTheOrderOfTheMessages(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		var b []byte
		for id := uint16(1); id <= 200; id++ {
			// Many topics, so that the store may confirm the messages in any order.
			b = c.Encode(b, &packet.Publish{Topic: "T/" + strconv.Itoa(int(id%17)), QoS: byte(1 + id%2), PacketID: id, Payload: []byte("x")})
		}
		c.SendRaw(b...)
		b = b[:0]
		for id := uint16(1); id <= 200; id++ {
			kind := packet.PUBACK
			if id%2 == 1 {
				kind = packet.PUBREC
				b = c.Encode(b, &packet.Ack{Kind: packet.PUBREL, PacketID: id})
			}
			c.ExpectAck(kind, id, packet.Success)
		}
		c.SendRaw(b...)
		for id := uint16(1); id <= 200; id += 2 {
			c.ExpectAck(packet.PUBCOMP, id, packet.Success)
		}
	})
}

// Proves 3.1.1: [MQTT-4.3.3-2]
// Proves 5.0: [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12]
func TestAQoS2PacketIDIsStoredOnceUntilItIsReleased(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		sub := n.Connect(v, "sub")
		sub.Subscribe(2, "T/#")
		pub := n.Connect(v, "pub", mqtttest.Keep)
		p := &packet.Publish{Topic: "T/a", QoS: 2, PacketID: 5, Payload: []byte("once")}
		again := *p
		again.Dup = true
		pub.Send(p)
		pub.ExpectAck(packet.PUBREC, 5, packet.Success)
		pub.Send(&again)
		pub.ExpectAck(packet.PUBREC, 5, packet.Success)
		pub.Close()
		pub = n.Connect(v, "pub", mqtttest.Keep)
		require.True(t, pub.Connack.SessionPresent)
		pub.Send(&again)
		pub.ExpectAck(packet.PUBREC, 5, packet.Success)
		release(pub, 5)
		sub.Ack(sub.ExpectPublish("T/a", "once"))
		// After PUBREL the packet id is free for another message, even one with DUP set.
		again.Payload = []byte("twice")
		pub.Send(&again)
		pub.ExpectAck(packet.PUBREC, 5, packet.Success)
		release(pub, 5)
		sub.Ack(sub.ExpectPublish("T/a", "twice"))
		// A repeated PUBREL is answered again.
		want := packet.Success
		if v == packet.V5 {
			want = packet.PacketIdentifierNotFound
		}
		pub.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: 5})
		pub.ExpectAck(packet.PUBCOMP, 5, want)
		pub.Publish(1, "T/a", "end")
		sub.ExpectPublish("T/a", "end")
	})
}

// Proves 3.1.1: [MQTT-2.3.1-4] [MQTT-4.3.3-1] [MQTT-4.4.0-1]
// Proves 5.0: [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1]
func TestAQoS2DeliveryGoesOnWhereItStoodWhenTheClientComesBack(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/#")
		var ids []uint16
		for i := range 4 {
			pub.Publish(2, "T/a", strconv.Itoa(i))
			ids = append(ids, c.ExpectPublish("T/a", strconv.Itoa(i)).PacketID)
		}
		for _, id := range ids[:2] {
			c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: id})
			c.ExpectAck(packet.PUBREL, id, packet.Success)
		}
		c.Close()
		c = n.Connect(v, "c", mqtttest.Keep)
		c.ExpectAck(packet.PUBREL, ids[0], packet.Success)
		c.ExpectAck(packet.PUBREL, ids[1], packet.Success)
		for i := 2; i < 4; i++ {
			p := c.ExpectPublish("T/a", strconv.Itoa(i))
			require.True(t, p.Dup)
			require.Equal(t, ids[i], p.PacketID)
		}
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: ids[0]})
		// A repeated PUBREC is answered again.
		c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: ids[1]})
		c.ExpectAck(packet.PUBREL, ids[1], packet.Success)
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: ids[1]})
		for i := 2; i < 4; i++ {
			c.Ack(&packet.Publish{QoS: 2, PacketID: ids[i]})
		}
		c.Disconnect()
		c = n.Connect(v, "c", mqtttest.Keep)
		pub.Publish(2, "T/a", "end")
		require.False(t, c.ExpectPublish("T/a", "end").Dup)
	})
}

// Proves 5.0: [MQTT-3.6.2-1] [MQTT-3.7.2-1]
func TestAnUnknownPacketIDIsAnsweredSoThatTheClientCanGoOn(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		want := packet.Success
		if v == packet.V5 {
			want = packet.PacketIdentifierNotFound
		}
		c := n.Connect(v, "c")
		c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: 77})
		c.ExpectAck(packet.PUBREL, 77, want)
		c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: 78})
		c.ExpectAck(packet.PUBCOMP, 78, want)
		c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: 79}, &packet.Ack{Kind: packet.PUBCOMP, PacketID: 80})
		require.Empty(t, c.Ping())
	})
}

// Proves 5.0: [MQTT-4.9.0-2]
func TestAPubrecThatRefusesEndsTheDelivery(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	one := uint16(1)
	c := n.Connect(packet.V5, "c", mqtttest.Keep, mqtttest.Props(func(p *packet.Properties) { p.ReceiveMaximum = &one }))
	c.Subscribe(2, "T/#")
	pub.Publish(2, "T/a", "1")
	pub.Publish(2, "T/a", "2")
	p := c.ExpectPublish("T/a", "1")
	c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID, Code: packet.QuotaExceeded})
	c.ExpectPublish("T/a", "2")
}

// Proves 3.1.1: [MQTT-4.5.0-1]
// Proves 5.0: [MQTT-4.5.0-1]
func TestAClientThatPublishesToItselfGetsItsMessages(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		c.Subscribe(0, "T/#")
		c.Send(&packet.Publish{Topic: "T/a"}, &packet.Publish{Topic: "T/b", Payload: make([]byte, 300_000)})
		c.ExpectPublish("T/a", "")
		require.Len(t, mqtttest.Expect[*packet.Publish](c).Payload, 300_000)
	})
}
