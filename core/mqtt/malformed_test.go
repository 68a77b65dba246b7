package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/packet/packettest"
)

// Each packet in packettest names the statement of the specification that it breaks. docs/conformance.md counts these statements as proven
// here.
func TestWhatTheTextsForbidEndsItsConnectionWithItsCode(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	bystander := n.Connect(packet.V311, "bystander")
	bystander.Subscribe(0, "#")
	for _, r := range packettest.Refusals {
		v := packet.Version(r.Version)
		t.Log(r.Name)
		switch r.From {
		case packettest.FromServer:
			continue // a packet that clients must refuse
		case packettest.First:
			c := n.Dial(v)
			c.SendRaw(r.Bytes...)
			if connackFor(r) {
				a := mqtttest.Expect[*packet.Connack](c)
				want := packet.Code(r.Code)
				if v != packet.V5 {
					want = 1 // unacceptable protocol level
				}
				require.Equal(t, want, a.Code)
				require.False(t, a.SessionPresent)
			}
			c.ExpectClosed()
			c.Close()
		default:
			c := n.Dial(v).Connect("bad")
			c.SendRaw(r.Bytes...)
			c.ExpectDisconnect(packet.Code(r.Code))
			c.Close()
		}
	}
	require.Empty(t, bystander.Ping(), "nothing of it was taken, and no other connection suffers")
}

// connackFor reports whether the server answers a refused CONNECT with CONNACK. MQTT 5 always does, 3.1.1 only for an unsupported protocol
// level.
func connackFor(r packettest.Refusal) bool {
	return r.Bytes[0]>>4 == byte(packet.CONNECT) && (r.Code == packettest.UnsupportedProtocolVersion || r.Version == packettest.V5)
}
