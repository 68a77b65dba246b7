package mqtt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestBoundsChangeForThoseWhoAreConnected(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	n.Server.SetBounds(mqtt.Bounds{MaxConnections: 1, Client: mqtt.Rates{Messages: 20}})
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("other").Code)
	begun := time.Now()
	for range 43 { // the burst is 40
		c.Publish(1, "T/a", "m")
	}
	require.Greater(t, time.Since(begun), 50*time.Millisecond)
	n.Server.SetBounds(mqtt.Bounds{})
	n.Connect(packet.V5, "other")
	n.Server.SetBounds(mqtt.Bounds{Address: mqtt.Rates{Connects: 0.001}, BoundLoopback: true})
	n.Connect(packet.V5, "last")
	n.Dial(packet.V5).ExpectClosed()
	require.Empty(t, c.Ping())
}

func TestARateThatDoesNotChangeGrantsNothingAnew(t *testing.T) {
	t.Parallel()
	rates := mqtt.Rates{Messages: 20}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Client = rates })
	c := n.Connect(packet.V5, "c")
	begun := time.Now()
	for range 43 {
		n.Server.SetBounds(mqtt.Bounds{Client: rates})
		c.Publish(1, "T/a", "m")
	}
	require.Greater(t, time.Since(begun), 50*time.Millisecond)
}
