package packet

import (
	"bytes"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// disagreements are cases of mochi that mochi accepts and the MQTT texts forbid.
var disagreements = map[string]string{
	"CONNACK miscellaneous protocol violation": "an MQTT 5 code in a CONNACK of 3.1.1",
	"CONNACK bad protocol version":             "an MQTT 5 code in a CONNACK of 3.1.1, with a session present",
	"CONNACK bad client id":                    "an MQTT 5 code in a CONNACK of 3.1.1, with a session present",
	"CONNACK server unavailable":               "an MQTT 5 code in a CONNACK of 3.1.1, with a session present",
	"CONNACK bad username or password":         "an MQTT 5 code in a CONNACK of 3.1.1, with a session present",
	"CONNACK not authorised":                   "an MQTT 5 code in a CONNACK of 3.1.1, with a session present",
	"PUBLISH dup":                              "DUP with QoS 0 [MQTT-3.3.1-2]",
	"SUBACK invalid shared no local":           "protocol error is no code of SUBACK [MQTT-3.9.3-2]",
}

func TestTheOtherCodecsOwnCasesAreReadAsItExpects(t *testing.T) {
	read := func(c mochi.TPacketCase, typ byte, v Version, client bool) (Packet, error) {
		r := NewReader(bytes.NewReader(c.RawBytes), 0)
		r.Client = client
		if typ != mochi.Connect {
			r.SetVersion(v)
		}
		return r.ReadPacket()
	}
	seen := 0
	for typ := mochi.Connect; typ <= mochi.Auth; typ++ {
		for _, c := range mochi.TPacketData[typ] {
			if len(c.RawBytes) < 2 || c.Group == "encode" || c.Group == "validate" {
				continue // no wire bytes, or bytes that are not the case
			}
			seen++
			name := Type(typ).String() + " " + c.Desc
			t.Run(name, func(t *testing.T) {
				v := V311
				if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
					v = Version(c.Packet.ProtocolVersion)
				}
				p, err := read(c, typ, v, false)
				if err != nil {
					p, err = read(c, typ, v, true) // the cases do not say which side sends
				}
				refused := c.FailFirst != nil || c.Expect != nil
				if disagreements[name] != "" {
					require.Error(t, err)
					require.False(t, refused)
					return
				}
				if refused {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				m, err := mochiDecode(c.RawBytes, v)
				require.NoError(t, err)
				require.Equal(t, fromMochi(m, v), p)
			})
		}
	}
	require.Greater(t, seen, 100)
}
