package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// The last event in a connection's life says why the connection ended.
func TestOperatorsLearnWhyAConnectionEnded(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	cases := []struct {
		name   string
		end    func(c *mqtttest.Client)
		reason string
		cause  string
	}{
		{"the client said goodbye", func(c *mqtttest.Client) { c.Disconnect() }, "client disconnected", ""},
		{"it wants its will", func(c *mqtttest.Client) { c.Send(&packet.Disconnect{Code: packet.DisconnectWithWill}) },
			"client disconnected, with its will", ""},
		{"it was lost", func(c *mqtttest.Client) { c.Close() }, "connection lost", "EOF"},
		{"another one took over", func(*mqtttest.Client) { n.Connect(packet.V311, "the session is taken over") },
			packet.SessionTakenOver.String(), "another connection uses this client id"},
		{"it broke the protocol", func(c *mqtttest.Client) { c.SendRaw(0x00, 0x00) }, packet.MalformedPacket.String(), ""},
		{"an operator closed it", func(*mqtttest.Client) { n.Sessions.Kick("an operator closed it") },
			packet.AdministrativeAction.String(), "closed by an operator"},
	}
	for _, tc := range cases {
		id := tc.name
		if tc.reason == packet.SessionTakenOver.String() {
			id = "the session is taken over"
		}
		c := n.Connect(packet.V5, id)
		tc.end(c)
		var found mqtt.Event
		mqtttest.Eventually(t, "the disconnection is noted", func() bool {
			for _, e := range n.Server.Recent() {
				if e.ClientID == id {
					found = e
					return true
				}
			}
			return false
		})
		require.Equal(t, tc.reason, found.Reason, tc.name)
		require.Contains(t, found.Cause, tc.cause, tc.name)
		require.Equal(t, "disconnected", found.Kind)
		require.NotEmpty(t, found.RemoteAddr)
	}
}

func TestRefusalsAreRememberedWithinABound(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections = 1 })
	n.Connect(packet.V5, "a")
	for range 300 {
		require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("b").Code)
	}
	require.Equal(t, packet.Code(3), n.Dial(packet.V311).TryConnect("old").Code)
	list := n.Server.Recent()
	require.Len(t, list, 256)
	require.Equal(t, "too many connections", list[0].Cause, "the answer has no room for it, and operators hear it all the same")
	list = list[1:]
	require.Equal(t, "refused", list[0].Kind)
	require.Equal(t, packet.ServerBusy.String(), list[0].Reason)
	require.Equal(t, "too many connections", list[0].Cause)
}

func TestRefusedMessagesAndSubscriptionsAreRemembered(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.NoAutoCreate = true })
	n.Connect(packet.V5, "gone") // its disconnection is not pushed out
	n.Sessions.Kick("gone")
	c := n.Connect(packet.V5, "c")
	codes := c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "nosuch/#", QoS: 1}}})
	require.Equal(t, []packet.Code{packet.TopicFilterInvalid}, codes)
	d := n.Connect(packet.V5, "d")
	for range 300 {
		id := d.NextID()
		d.Send(&packet.Publish{QoS: 1, PacketID: id, Topic: "nosuch/1", Payload: []byte("x")})
		d.ExpectAck(packet.PUBACK, id, packet.TopicNameInvalid)
	}
	mqtttest.Eventually(t, "the disconnection is noted", func() bool {
		for _, e := range n.Server.Recent() {
			if e.ClientID == "gone" {
				return true
			}
		}
		return false
	})
	byPacket := map[string]mqtt.Event{}
	list := n.Server.Recent()
	require.Less(t, len(list), 200, "a client that is refused all the time has a few")
	for _, e := range list {
		if e.Kind == "refused" {
			byPacket[e.Packet] = e
		}
	}
	require.Equal(t, "nosuch/#", byPacket["SUBSCRIBE"].Topic)
	require.Equal(t, "c", byPacket["SUBSCRIBE"].ClientID)
	require.Equal(t, packet.TopicFilterInvalid.String(), byPacket["SUBSCRIBE"].Reason)
	require.Equal(t, "nosuch/1", byPacket["PUBLISH"].Topic)
	require.Equal(t, packet.TopicNameInvalid.String(), byPacket["PUBLISH"].Reason)
	require.Contains(t, byPacket["PUBLISH"].Cause, "unknown first-level topic")
}
