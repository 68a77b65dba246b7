package mqtt_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// values returns the values of a metric by its label values.
func values(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += l.GetValue() + " "
			}
			out[labels] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestPacketsAndBytesAreCountedByTypeAndDirection(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	n := mqtttest.Start(t, registered(registry))
	require.Len(t, values(t, registry, "lmqgate_mqtt_packets_total"), 30, "every type is there before its first packet")
	c := n.Connect(packet.V311, "c")
	c.Subscribe(1, "T/#")
	payload := string(make([]byte, 300)) // large enough for a remaining length of two bytes
	for range 3 {
		c.Publish(1, "T/a", payload)
	}
	for range 3 {
		p := mqtttest.Expect[*packet.Publish](c)
		c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID})
	}
	require.Empty(t, c.Ping())
	c.Disconnect()
	const publish = 1 + 2 + 2 + 3 + 2 + 300
	mqtttest.Eventually(t, "the goodbye is counted", func() bool {
		return values(t, registry, "lmqgate_mqtt_packets_total")["in DISCONNECT "] == 1
	})
	packets, bytes := values(t, registry, "lmqgate_mqtt_packets_total"), values(t, registry, "lmqgate_mqtt_packet_bytes_total")
	for labels, want := range map[string][2]float64{
		"in CONNECT ": {1, 2 + 10 + 3}, "out CONNACK ": {1, 4},
		"in SUBSCRIBE ": {1, 2 + 2 + 2 + 3 + 1}, "out SUBACK ": {1, 5},
		"in PUBLISH ": {3, 3 * publish}, "out PUBACK ": {3, 12},
		"out PUBLISH ": {3, 3 * publish}, "in PUBACK ": {3, 12},
		"in PINGREQ ": {1, 2}, "out PINGRESP ": {1, 2},
		"in DISCONNECT ": {1, 2}, "out DISCONNECT ": {0, 0},
	} {
		require.Equal(t, want, [2]float64{packets[labels], bytes[labels]}, labels)
	}
}

func TestClientsAreCountedByVersionAndListener(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	n := mqtttest.Start(t, registered(registry))
	c := n.Connect(packet.V5, "c")
	n.Connect(packet.V311, "d")
	n.Connect(packet.V311, "e")
	name := "lmqgate_mqtt_clients"
	require.Equal(t, map[string]float64{"tcp 5.0 ": 1, "tcp 3.1.1 ": 2, "tcp 3.1 ": 0, "ws 5.0 ": 0, "ws 3.1.1 ": 0, "ws 3.1 ": 0},
		values(t, registry, name))
	c.Disconnect()
	mqtttest.Eventually(t, "one less", func() bool { return values(t, registry, name)["tcp 5.0 "] == 0 })
	require.InDelta(t, 2, values(t, registry, name)["tcp 3.1.1 "], 0)
}
