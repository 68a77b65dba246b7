package mqtt_test

import (
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Sections 1 and 2: data, fixed header, packet identifiers. Packets that must be refused are in packettest.

// expectBytes reads from the server and requires exactly these bytes.
func expectBytes(t *testing.T, r io.Reader, want ...byte) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(r, got)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// The server's packets are compared byte by byte: flags of the fixed header, acknowledge flags, no packet identifier at QoS 0, and a
// property length even without properties.
//
// Proves 3.1.1: [MQTT-2.2.2-1] [MQTT-2.3.1-5] [MQTT-3.6.1-1] [MQTT-4.3.1-1]
// Proves 5.0: [MQTT-2.1.3-1] [MQTT-2.2.1-2] [MQTT-2.2.2-1] [MQTT-3.2.2-1] [MQTT-3.6.1-1] [MQTT-4.3.1-1]
func TestTheServersBytesAreThoseOfTheText(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		nc := dial(t, n.TCP())
		defer nc.Close()
		send := func(p packet.Packet) {
			t.Helper()
			b, err := packet.Append(nil, p, v)
			require.NoError(t, err)
			_, err = nc.Write(b)
			require.NoError(t, err)
		}
		five := func(b ...byte) []byte { // bytes that only MQTT 5 has
			if v == packet.V5 {
				return b
			}
			return nil
		}
		fixed := func(first byte, body ...byte) []byte { return append([]byte{first, byte(len(body))}, body...) }
		send(&packet.Connect{Version: v, CleanStart: true, ClientID: "raw"})
		if v == packet.V5 {
			head := make([]byte, 5)
			_, err := io.ReadFull(nc, head)
			require.NoError(t, err)
			require.Equal(t, []byte{0x20, 0, 0}, []byte{head[0], head[2], head[3]})
			require.Equal(t, head[1], head[4]+3, "the property length fills the packet")
			_, err = io.CopyN(io.Discard, nc, int64(head[4]))
			require.NoError(t, err)
		} else {
			expectBytes(t, nc, 0x20, 2, 0, 0)
		}
		send(&packet.Subscribe{PacketID: 0x0102, Filters: []packet.Subscription{{Filter: "T/+", QoS: 2}}})
		expectBytes(t, nc, fixed(0x90, append(append([]byte{1, 2}, five(0)...), 2)...)...)
		pub.Publish(0, "T/a", "zero")
		expectBytes(t, nc, fixed(0x30, append(append([]byte{0, 3, 'T', '/', 'a'}, five(0)...), "zero"...)...)...)
		pub.Publish(1, "T/a", "one")
		expectBytes(t, nc, fixed(0x32, append(append([]byte{0, 3, 'T', '/', 'a', 0, 1}, five(0)...), "one"...)...)...)
		send(&packet.Ack{Kind: packet.PUBACK, PacketID: 1})
		pub.Publish(2, "T/a", "two")
		expectBytes(t, nc, fixed(0x34, append(append([]byte{0, 3, 'T', '/', 'a', 0, 2}, five(0)...), "two"...)...)...)
		send(&packet.Ack{Kind: packet.PUBREC, PacketID: 2})
		expectBytes(t, nc, 0x62, 2, 0, 2)
		send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: 2})
		send(&packet.Publish{Topic: "U/a", QoS: 1, PacketID: 0x0304})
		expectBytes(t, nc, 0x40, 2, 3, 4)
		send(&packet.Publish{Topic: "U/a", QoS: 2, PacketID: 0x0506})
		expectBytes(t, nc, 0x50, 2, 5, 6)
		send(&packet.Ack{Kind: packet.PUBREL, PacketID: 0x0506})
		expectBytes(t, nc, 0x70, 2, 5, 6)
		send(&packet.Pingreq{})
		expectBytes(t, nc, 0xD0, 0)
		send(&packet.Unsubscribe{PacketID: 0x0708, Filters: []string{"T/+"}})
		expectBytes(t, nc, fixed(0xB0, append([]byte{7, 8}, five(0, 0)...)...)...)
	})
}

// Proves 3.1.1: [MQTT-1.5.3-3] [MQTT-4.7.3-4]
// Proves 5.0: [MQTT-1.5.4-3] [MQTT-1.5.7-1] [MQTT-4.7.3-4]
func TestAByteOrderMarkStaysWhereItIs(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		const bom = "\ufeff"
		pub := n.Connect(v, "pub")
		c := n.Connect(v, bom+"c", kind)
		c.Subscribe(1, "T/"+bom+"a", bom+"T/#", "U/+")
		n.Connect(v, "c") // a different client id
		p := &packet.Publish{Topic: "U/" + bom, QoS: 1, Payload: []byte(bom)}
		if v == packet.V5 {
			p.Properties = &packet.Properties{ContentType: new(bom), User: []packet.UserProperty{{Key: bom + "k", Value: "v" + bom}}}
		}
		pub.PublishPacket(p)
		got := c.ExpectPublish("U/"+bom, bom)
		require.Equal(t, p.Properties, got.Properties)
		c.Ack(got)
		pub.Publish(1, "T/a", "without")
		pub.Publish(1, "T/x", "without")
		pub.Publish(1, "T/"+bom+"a", "with")
		c.Ack(c.ExpectPublish("T/"+bom+"a", "with"))
		pub.Publish(1, bom+"T/x", "with")
		c.Ack(c.ExpectPublish(bom+"T/x", "with"))
		require.Empty(t, c.Ping())
	})
}

// Proves 3.1.1: [MQTT-2.3.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
// Proves 5.0: [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]
func TestPacketIdentifiersOfMessagesInFlightAreDifferentAndNeverZero(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		c := n.Connect(v, "c", kind)
		c.Subscribe(2, "T/#")
		pub := n.Connect(v, "pub")
		open := map[uint16]*packet.Publish{}
		for i := range 300 {
			qos := byte(1 + i%2)
			pub.Publish(qos, "T/a", strconv.Itoa(i))
			p := c.ExpectPublish("T/a", strconv.Itoa(i))
			require.Equal(t, qos, p.QoS)
			require.False(t, p.Dup)
			require.NotZero(t, p.PacketID)
			require.NotContains(t, open, p.PacketID)
			open[p.PacketID] = p
			if len(open) < 100 {
				continue
			}
			for id, p := range open { // acknowledge any one, in random order
				c.Ack(p)
				delete(open, id)
				break
			}
		}
		require.Empty(t, c.Ping())
	})
}
