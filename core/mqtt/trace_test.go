package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/trace"
)

func TestAnOperatorWatchesAClient(t *testing.T) {
	t.Parallel()
	tracer := trace.New("node")
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.MQTT.Tracer = tracer
		c.Authority = &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return a.Topic != "T/secret" }}
	})
	w, err := tracer.Watch(trace.Match{ClientID: "watched"}, false)
	require.NoError(t, err)
	onTopic, err := tracer.Watch(trace.Match{Topic: "T/+"}, false)
	require.NoError(t, err)
	other := n.Connect(packet.V5, "other")
	c := n.Connect(packet.V5, "watched")
	c.Subscribe(1, "T/#")
	c.Send(&packet.Publish{Topic: "T/secret", QoS: 1, PacketID: 7, Payload: []byte("payload")})
	c.ExpectAck(packet.PUBACK, 7, packet.NotAuthorized)
	other.Publish(1, "T/a", "payload")
	c.ExpectPublish("T/a", "payload")
	c.Disconnect()
	var got []string
	mqtttest.Eventually(t, "the end was seen", func() bool {
		for _, e := range w.Take() {
			line := e.What + " " + e.Packet
			if e.Topic != "" {
				line += " " + e.Topic
			}
			if e.Reason != "" {
				line += " (" + e.Reason + ")"
			}
			require.Equal(t, "watched", e.ClientID)
			require.NotEmpty(t, e.Address)
			got = append(got, line)
		}
		return len(got) > 0 && got[len(got)-1] == "disconnected  (client disconnected)"
	})
	for _, want := range []string{"in CONNECT", "connected ", "out CONNACK", "in SUBSCRIBE T/#", "in PUBLISH T/secret",
		"refused  T/secret (not authorized: its rules do not allow it)", "out PUBACK (not authorized)", "out PUBLISH T/a", "in DISCONNECT"} {
		require.Contains(t, got, want)
	}
	seen := map[string]bool{}
	for _, e := range onTopic.Take() {
		seen[e.ClientID+" "+e.What] = true
	}
	require.True(t, seen["other in"] && seen["other stored"] && seen["watched out"], "%v", seen)
	w.Close()
	onTopic.Close()
	require.False(t, tracer.On())
}
