package mqtt_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Section 4: delivery.

// Proves 3.1.1: [MQTT-4.3.2-2] [MQTT-3.3.4-1]
// Proves 5.0: [MQTT-4.3.2-4] [MQTT-4.3.2-5] [MQTT-3.3.4-1]
func TestAfterPUBACKTheSameIdentifierIsANewMessageAlsoWithDUP(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		sub := n.Connect(v, "sub")
		sub.Subscribe(1, "T/#")
		pub := n.Connect(v, "pub")
		for i := range 4 {
			p := &packet.Publish{Topic: "T/a", QoS: 1, PacketID: 7, Dup: i%2 == 1, Payload: []byte("the same")}
			pub.Send(p)
			pub.ExpectAck(packet.PUBACK, 7, packet.Success)
		}
		for range 4 {
			sub.Ack(sub.ExpectPublish("T/a", "the same"))
		}
		require.Empty(t, sub.Ping())
		pub.Send(&packet.Publish{Topic: "T/a", Payload: []byte("QoS 0")})
		require.Empty(t, pub.Ping(), "QoS 0 is not answered")
	})
}

// Proves 5.0: [MQTT-4.3.3-9]
func TestAfterAPUBRECThatRefusesTheIdentifierIsANewMessage(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny, func(c *mqtttest.Config) { c.MQTT.ReceiveMaximum = 2 })
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(2, "T/#")
	pub := n.Connect(packet.V5, "pub")
	for range 5 { // more than the receive maximum: each refusal ends its handshake
		pub.Send(&packet.Publish{Topic: "no/a", QoS: 2, PacketID: 9})
		pub.ExpectAck(packet.PUBREC, 9, packet.NotAuthorized)
	}
	pub.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 9, Dup: true, Payload: []byte("another")})
	pub.ExpectAck(packet.PUBREC, 9, packet.Success)
	release(pub, 9)
	sub.Ack(sub.ExpectPublish("T/a", "another"))
	require.Empty(t, sub.Ping())
}

// Proves 5.0: [MQTT-4.4.0-2]
func TestWhatAClientRefusesIsNotSentAgain(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(2, "T/#")
	pub := n.Connect(packet.V5, "pub")
	for qos := byte(1); qos <= 2; qos++ {
		pub.Publish(qos, "T/a", "refused")
		p := c.ExpectPublish("T/a", "refused")
		kind := packet.PUBACK
		if qos == 2 {
			kind = packet.PUBREC
		}
		c.Send(&packet.Ack{Kind: kind, PacketID: p.PacketID, Code: packet.UnspecifiedError})
	}
	require.Empty(t, c.Ping(), "no PUBREL answers a refusal")
	c.Close()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	require.Empty(t, c.Ping())
	c.Disconnect()
	mqtttest.Eventually(t, "progress is committed", func() bool { return n.Lag("c", "T/#") == 0 })
	n.Crash()
	n.Restart()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	n.Connect(packet.V5, "pub").Publish(1, "T/a", "next")
	c.ExpectPublish("T/a", "next")
}

// Proves 3.1.1: [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1]
// Proves 5.0: [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.4.0-1]
func TestNothingIsSentAgainWhileTheConnectionLasts(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/#")
		pub := n.Connect(v, "pub")
		var open []*packet.Publish
		for i := range 10 {
			pub.Publish(byte(1+i%2), "T/a", strconv.Itoa(i))
			open = append(open, c.ExpectPublish("T/a", strconv.Itoa(i)))
		}
		c.Subscribe(2, "T/#") // replaces the subscription and repeats no message
		c.Unsubscribe("T/other")
		c.ExpectNothing()
		require.Empty(t, c.Ping())
		c.Close()
		c = n.Connect(v, "c", mqtttest.Keep)
		for i, p := range open {
			again := c.ExpectPublish("T/a", strconv.Itoa(i))
			require.True(t, again.Dup)
			require.Equal(t, p.PacketID, again.PacketID)
		}
		require.Empty(t, c.Ping())
	})
}

// Proves 3.1.1: [MQTT-4.6.0-4] [MQTT-4.6.0-6]
// Proves 5.0: [MQTT-4.3.3-4] [MQTT-4.6.0-5]
func TestPUBRELComesInTheOrderOfPUBREC(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/#")
		pub := n.Connect(v, "pub")
		var ids []uint16
		for i := range 50 {
			pub.Publish(2, "T/"+strconv.Itoa(i%3), strconv.Itoa(i))
			p := c.ExpectPublish("T/"+strconv.Itoa(i%3), strconv.Itoa(i))
			ids = append(ids, p.PacketID)
		}
		order := func(i int) uint16 { return ids[i*7%50] } // an order that differs from that of the messages
		var b []byte
		for i := range 50 {
			b = c.Encode(b, &packet.Ack{Kind: packet.PUBREC, PacketID: order(i)})
		}
		c.SendRaw(b...)
		for i := range 50 {
			c.ExpectAck(packet.PUBREL, order(i), packet.Success)
		}
		c.Close()
		c = n.Connect(v, "c", mqtttest.Keep)
		for i := range 50 {
			c.ExpectAck(packet.PUBREL, order(i), packet.Success)
			c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: order(i)})
		}
		require.Empty(t, c.Ping())
	})
}

// away is an authority that cannot judge topics that begin with "later".
type away struct{ auth.Authority }

func (a away) Authorize(ctx context.Context, p *auth.Principal, x auth.Action) (bool, error) {
	if strings.HasPrefix(x.Topic, "later") {
		return false, errors.New("the plugin is away")
	}
	return a.Authority.Authorize(ctx, p, x)
}

// A message that cannot be processed now is not acknowledged. In 3.1.1 the only way to say so is to close the connection.
//
// Proves 3.1.1: [MQTT-4.8.0-2]
func TestATransientErrorEndsTheConnectionThatMetIt(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = away{auth.Anonymous()} })
	bystander := n.Connect(packet.V311, "bystander")
	bystander.Subscribe(1, "#")
	for qos := byte(0); qos <= 2; qos++ {
		c := n.Connect(packet.V311, "c")
		p := &packet.Publish{Topic: "later/a", QoS: qos}
		if qos > 0 {
			p.PacketID = 1
		}
		c.Send(p)
		c.ExpectClosed()
	}
	five := n.Connect(packet.V5, "five") // MQTT 5 has a reason code for this
	five.Send(&packet.Publish{Topic: "later/a", QoS: 1, PacketID: 1})
	five.ExpectAck(packet.PUBACK, 1, packet.ImplementationSpecificError)
	five.Publish(1, "T/a", "now")
	bystander.ExpectPublish("T/a", "now")
}
