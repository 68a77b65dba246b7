package mqtt_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestPacketsWithoutEffectAreTakenNoQuickerThanTheyMayCome(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return a.Kind != auth.Subscribe || a.Topic != "no" }}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules })
	const count = 2400 // 1,000 a second, and 2,000 at once
	for name, c := range map[string]struct {
		version packet.Version
		packet  packet.Packet
		answers bool
	}{
		"PINGREQ":                              {packet.V311, &packet.Pingreq{}, true},
		"PUBACK of an unknown id":              {packet.V311, &packet.Ack{Kind: packet.PUBACK, PacketID: 7}, false},
		"PUBCOMP of an unknown id":             {packet.V5, &packet.Ack{Kind: packet.PUBCOMP, PacketID: 7}, false},
		"PUBREC of an unknown id":              {packet.V5, &packet.Ack{Kind: packet.PUBREC, PacketID: 7}, true},
		"PUBREC again and again":               {packet.V5, &packet.Ack{Kind: packet.PUBREC, PacketID: 1}, true},
		"PUBREL of an unknown id":              {packet.V5, &packet.Ack{Kind: packet.PUBREL, PacketID: 7}, true},
		"UNSUBSCRIBE from what there is not":   {packet.V5, &packet.Unsubscribe{PacketID: 7, Filters: []string{"T/none"}}, true},
		"SUBSCRIBE to what rules do not allow": {packet.V5, &packet.Subscribe{PacketID: 7, Filters: []packet.Subscription{{Filter: "no"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := n.Connect(c.version, name)
			if name == "PUBREC again and again" {
				client.Subscribe(2, "T/again")
				client.Publish(2, "T/again", "m")
				require.EqualValues(t, 1, client.ExpectPublish("T/again", "m").PacketID)
			}
			one := client.Encode(nil, c.packet)
			begun := time.Now()
			client.SendRaw(append(bytes.Repeat(one, count), client.Encode(nil, &packet.Pingreq{})...)...)
			others := 0
			for p := client.Next(); ; p = client.Next() {
				if _, pong := p.(*packet.Pingresp); !pong {
					others++
				} else if name != "PINGREQ" || others == count {
					break
				} else {
					others++
				}
			}
			require.Greater(t, time.Since(begun), 300*time.Millisecond)
			if c.answers {
				require.Equal(t, count, others, "they are answered all the same")
			}
			client.Close()
		})
	}
}

func TestPacketsThatChangeSomethingAreNotSlowedDown(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	n := mqtttest.Start(t, registered(registry))
	c := n.Connect(packet.V311, "c")
	c.Subscribe(2, "T/#")
	const count, parts = 2400, 24
	released, received := 0, 0
	for part := range parts {
		var b []byte
		for i := range count / parts {
			b = c.Encode(b, &packet.Publish{Topic: "T/a", QoS: 2, PacketID: uint16(part*count/parts + i + 1)})
		}
		c.SendRaw(b...)
		for released < (part+1)*count/parts || received < (part+1)*count/parts {
			switch p := c.Next().(type) {
			case *packet.Publish:
				c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID})
			case *packet.Ack:
				switch p.Kind {
				case packet.PUBREC:
					c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: p.PacketID})
				case packet.PUBREL:
					c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
					received++
				case packet.PUBCOMP:
					released++
				}
			}
		}
	}
	require.Empty(t, c.Ping())
	for range 5 {
		c.Subscribe(1, "T/b")
		c.Unsubscribe("T/b")
	}
	require.Zero(t, values(t, registry, "lmqgate_mqtt_slowed_total")[""])
}
