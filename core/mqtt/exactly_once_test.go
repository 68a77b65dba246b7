package mqtt_test

import (
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Both clients keep their session state, as the protocol requires, while the gateway is killed again and again.
//
// Proves 3.1.1: [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.4.0-1] [MQTT-3.1.2-4]
// Proves 5.0: [MQTT-4.3.3-2] [MQTT-4.3.3-8] [MQTT-4.4.0-1]
func TestQoS2IsExactlyOnceHoweverOftenTheGatewayDies(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		const crashes = 12
		n.Connect(v, "sub", mqtttest.Keep).Subscribe(2, "T/+", "T/#")
		s, r := &mqtttest.Sender{Topic: "T/a"}, &mqtttest.Receiver{}
		open := func(id string) *mqtttest.Link {
			l, err := mqtttest.Open(n.TCP().String(), &packet.Connect{Version: v, ClientID: id})
			require.NoError(t, err)
			return l
		}
		for i := range crashes + 1 {
			final, last := i == crashes, math.MaxInt
			if final {
				last = s.Sent() + 10
			}
			pub, sub := open("pub"), open("sub")
			var wg sync.WaitGroup
			var failed error
			wg.Go(func() { failed = s.Run(pub, last) })
			wg.Go(func() { _ = r.Run(sub) })
			if final {
				mqtttest.Eventually(t, "everything is there", func() bool { return r.Count() >= last })
				sub.Close()
			} else {
				before, more := r.Count(), rand.IntN(40)
				mqtttest.Eventually(t, "messages flow", func() bool { return r.Count() >= before+more })
				n.Crash()
				n.Restart()
			}
			wg.Wait()
			pub.Close()
			sub.Close()
			if final {
				require.NoError(t, failed)
			}
		}
		require.Equal(t, mqtttest.Numbers(s.Sent()), r.Got(), "each message once, in order")
	})
}

// Proves 5.0: [MQTT-4.3.3-10]
func TestAQoS2MessageThatIsStoredIsNotStoredAgainAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		sub := n.Connect(v, "sub", mqtttest.Keep)
		sub.Subscribe(1, "T/a")
		pub := n.Connect(v, "pub", mqtttest.Keep)
		send := func(c *mqtttest.Client, id uint16, text string, dup bool) {
			c.Send(&packet.Publish{QoS: 2, PacketID: id, Topic: "T/a", Payload: []byte(text), Dup: dup})
		}
		// 7 is complete. 8 and 9 are stored and acknowledged by PUBREC.
		for id := uint16(7); id <= 9; id++ {
			send(pub, id, "m"+strconv.Itoa(int(id)), false)
			require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		}
		pub.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: 7})
		require.Equal(t, packet.PUBCOMP, mqtttest.Expect[*packet.Ack](pub).Kind)
		n.Crash()
		n.Restart()
		pub = n.Connect(v, "pub", mqtttest.Keep)
		send(pub, 8, "m8", true)
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		send(pub, 7, "another", false) // the packet id is free again
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		for _, id := range []uint16{9, 8, 7} {
			pub.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: id})
			a := mqtttest.Expect[*packet.Ack](pub)
			require.Equal(t, packet.PUBCOMP, a.Kind)
			require.Equal(t, packet.Success, a.Code)
		}
		send(pub, 9, "m9", true) // 9 was released, so this is a new message
		require.Equal(t, packet.PUBREC, mqtttest.Expect[*packet.Ack](pub).Kind)
		sub = n.Connect(v, "sub", mqtttest.Keep)
		for _, text := range []string{"m7", "m8", "m9", "another", "m9"} {
			sub.Ack(sub.ExpectPublish("T/a", text))
		}
		require.Empty(t, sub.Ping())
	})
}

func TestAQoS2MessageIsResentUnderItsPacketIDAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/a")
		pub := n.Connect(v, "pub")
		for _, text := range []string{"released", "received", "done"} {
			pub.Publish(2, "T/a", text)
		}
		first := map[string]*packet.Publish{}
		for _, text := range []string{"released", "received", "done"} {
			first[text] = c.ExpectPublish("T/a", text)
		}
		rec := func(text string) {
			c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: first[text].PacketID})
			a := mqtttest.Expect[*packet.Ack](c)
			require.Equal(t, packet.PUBREL, a.Kind)
			require.Equal(t, first[text].PacketID, a.PacketID)
		}
		rec("released")
		rec("done")
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: first["done"].PacketID})
		require.Empty(t, c.Ping())
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		// The server sends PUBREL for the message that the client has received, sends the other one again under its packet id, and repeats
		// nothing else.
		var again *packet.Publish
		for released := false; !released || again == nil; {
			switch p := c.Next().(type) {
			case *packet.Publish:
				require.Nil(t, again, "%s", p.Payload)
				require.Equal(t, "received", string(p.Payload))
				again = p
			case *packet.Ack: // the server may send a PUBREL for "done", too
				require.Equal(t, packet.PUBREL, p.Kind)
				c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
				released = released || p.PacketID == first["released"].PacketID
			}
		}
		require.Equal(t, first["received"].PacketID, again.PacketID)
		require.Empty(t, c.Ping())
	})
}

func TestARetainedQoS2MessageLeavesNoPacketIDBehindAfterACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		n.Connect(v, "pub").Retain(2, "T/a", "kept")
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/a")
		p := c.ExpectPublish("T/a", "kept")
		require.EqualValues(t, 2, p.QoS)
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		a := mqtttest.Expect[*packet.Ack](c)
		require.Equal(t, packet.PUBREL, a.Kind)
		require.Equal(t, p.PacketID, a.PacketID)
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: a.PacketID})
		require.Empty(t, c.Ping())
	})
}

// The packet ids of a thousand open messages are derived from their records. Among 65,535 ids, some of these would collide.
func TestManyOpenQoS2MessagesComeInOrderAndOnceOverACrash(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		const count = 1000
		many := mqtttest.Props(func(p *packet.Properties) { most := uint16(count); p.ReceiveMaximum = &most })
		options := []mqtttest.Option{mqtttest.Keep}
		total := 120 // fewer than the 128 in-flight messages of a 3.1.1 client
		if v == packet.V5 {
			options, total = append(options, many), count
		}
		c := n.Connect(v, "c", options...)
		c.Subscribe(2, "T/a")
		pub := n.Connect(v, "pub")
		for i := range total {
			pub.Publish(2, "T/a", strconv.Itoa(i))
		}
		ids := map[uint16]string{}
		for i := range total {
			p := c.ExpectPublish("T/a", strconv.Itoa(i))
			require.NotContains(t, ids, p.PacketID)
			ids[p.PacketID] = string(p.Payload)
		}
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", options...)
		for i := range total {
			p := c.ExpectPublish("T/a", strconv.Itoa(i))
			require.Equal(t, string(p.Payload), ids[p.PacketID], "it has the packet id that it had")
		}
	})
}
