package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// A client that is still sending learns why it is closed: the server does not reset the socket before the client has read the reason.
//
// Proves 5.0: [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]
func TestAClientThatIsStillSendingReadsWhyItIsClosed(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ReceiveMaximum = 3 })
	for name, begin := range map[string][]packet.Packet{
		"receive maximum": nil,
		"protocol error":  {&packet.Connect{Version: packet.V5, ClientID: "again"}},
	} {
		c := n.Connect(packet.V5, "busy")
		c.Send(begin...)
		var b []byte
		for id := uint16(1); id <= 200; id++ {
			b = c.Encode(b, &packet.Publish{Topic: "T/a", QoS: 2, PacketID: id, Payload: make([]byte, 10_000)})
		}
		require.NoError(t, c.TrySendRaw(b...), name)
		for {
			p := c.Next()
			if d, ok := p.(*packet.Disconnect); ok {
				want := packet.ReceiveMaximumExceeded
				if begin != nil {
					want = packet.ProtocolError
				}
				require.Equal(t, want, d.Code, name)
				break
			}
			require.IsType(t, &packet.Ack{}, p, name)
		}
		c.ExpectClosed()
		require.NoError(t, c.TrySendRaw(b[:1000]...), name)
		c.Close()
	}
}

// A client that reads the DISCONNECT and does not close its socket does not keep its connection.
func TestAClientThatIsToldTheEndAndStaysIsDropped(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Dial(packet.V5)
	c.SendRaw(connectBytes("MQTT", 5, 3, 0, 1, 'x')...) // the reserved flag
	require.Equal(t, packet.MalformedPacket, mqtttest.Expect[*packet.Connack](c).Code)
	c.ExpectClosed()
	mqtttest.Eventually(t, "the connection is dropped", func() bool { return n.Server.Connections() == 0 })
}

// A CONNECT that a node cannot finish because it is shutting down gets no answer.
func TestAClientWhoseConnectMeetsTheEndOfTheNodeIsNotRefused(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		var n *mqtttest.Node
		ends := func(auth.Request) error {
			n.Server.StopAccepting()
			n.Sessions.Close(t.Context())
			return nil
		}
		n = mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = &mqtttest.Rules{Admit: ends} })
		c := n.Dial(v)
		c.Send(&packet.Connect{Version: v, ClientID: "late", CleanStart: true})
		c.ExpectClosed()
	}
}
