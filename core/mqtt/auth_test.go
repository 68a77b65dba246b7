package mqtt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Proves 3.1.1: [MQTT-3.1.3-9] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
// Proves 5.0: [MQTT-3.1.3-8] [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8]
func TestADenialIsAnsweredWithTheCodeOfItsReason(t *testing.T) {
	t.Parallel()
	reasons := map[string]auth.Reason{"credentials": auth.BadCredentials, "not": auth.NotAuthorized, "id": auth.BadClientID, "banned": auth.Banned,
		"down": auth.Unavailable}
	rules := &mqtttest.Rules{Admit: func(r auth.Request) error { return &auth.Denied{Reason: reasons[r.ClientID]} }}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules })
	for id, want := range map[string][2]packet.Code{
		"credentials": {4, packet.BadUserNameOrPassword}, "not": {5, packet.NotAuthorized}, "id": {2, packet.ClientIdentifierNotValid},
		"banned": {5, packet.Banned}, "down": {3, packet.ServerUnavailable},
	} {
		for i, v := range versions {
			c := n.Dial(v)
			a := c.TryConnect(id, mqtttest.Keep)
			require.Equal(t, want[i], a.Code, "%s %s", id, v)
			require.False(t, a.SessionPresent)
			c.ExpectClosed()
		}
	}
}

func TestTheAuthorityIsToldWhatTheClientSent(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules })
	n.Connect(packet.V5, "a", func(cn *packet.Connect) {
		cn.HasUsername, cn.Username, cn.HasPassword, cn.Password = true, "u", true, []byte{0, 1}
	})
	n.DialWS(packet.V311, "mqtt").Connect("b", func(cn *packet.Connect) { cn.HasUsername = true })
	n.Connect(packet.V311, "c")
	got := rules.Requests()
	require.Len(t, got, 3)
	for i := range got {
		require.Contains(t, got[i].RemoteAddr, "127.0.0.1:")
		got[i].RemoteAddr = ""
	}
	require.Equal(t, []auth.Request{
		{ClientID: "a", Username: "u", HasUsername: true, Password: []byte{0, 1}, HasPassword: true, Version: 5, Listener: "tcp"},
		{ClientID: "b", HasUsername: true, Version: 4, Listener: "ws"},
		{ClientID: "c", Version: 4, Listener: "tcp"},
	}, got)
}

// deny refuses publishes and subscriptions whose topic or filter begins with "no".
func deny(c *mqtttest.Config) {
	c.Authority = &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool { return !strings.HasPrefix(a.Topic, "no") }}
}

// Proves 3.1.1: [MQTT-3.3.5-2] [MQTT-3.9.3-2]
// Proves 5.0: [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.9.3-2]
func TestWhatTheRulesForbidIsRefusedByTheVersionsMeans(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	spy := n.Connect(packet.V5, "spy")
	spy.Subscribe(1, "#")
	for _, v := range versions {
		c := n.Connect(v, "c")
		want := []packet.Code{0x80, 1}
		if v == packet.V5 {
			want[0] = packet.NotAuthorized
		}
		require.Equal(t, want, c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "no/a", QoS: 1}, {Filter: "T/a", QoS: 1}}}))
		for qos := byte(0); qos <= 2; qos++ {
			p := &packet.Publish{Topic: "no/b", QoS: qos, Retain: true, Payload: []byte("x")}
			if qos > 0 {
				p.PacketID = 9
			}
			c.Send(p)
			switch {
			case v == packet.V311:
				c.ExpectClosed()
				c = n.Connect(v, "c")
			case qos == 0:
				require.Empty(t, c.Ping())
			case qos == 1:
				c.ExpectAck(packet.PUBACK, 9, packet.NotAuthorized)
			default:
				c.ExpectAck(packet.PUBREC, 9, packet.NotAuthorized)
			}
		}
		c.Publish(1, "T/b", v.String())
		spy.Ack(spy.ExpectPublish("T/b", v.String()))
	}
	require.Zero(t, n.Meta.RetainedCount())
}

// Proves 3.1.1: [MQTT-3.2.2-5]
// Proves 5.0: [MQTT-3.1.4-2] [MQTT-3.2.2-7]
func TestAWillThatTheRulesForbidIsRefusedAtConnect(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	for _, v := range versions {
		c := n.Dial(v)
		want := packet.NotAuthorized
		if v == packet.V311 {
			want = 5
		}
		require.Equal(t, want, c.TryConnect("c", mqtttest.Will(packet.Will{Topic: "no/will"})).Code)
		c.ExpectClosed()
	}
}

// A refused CONNECT must not disturb the connected client that has the same client id.
func TestARefusedConnectTakesNothingOver(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority = &mqtttest.Rules{Admit: func(r auth.Request) error {
			if r.Username == "bad" {
				return &auth.Denied{Reason: auth.BadCredentials}
			}
			return nil
		}}
	})
	c := n.Connect(packet.V311, "c")
	other := n.Dial(packet.V311)
	other.TryConnect("c", func(cn *packet.Connect) { cn.HasUsername, cn.Username = true, "bad" })
	other.ExpectClosed()
	require.Empty(t, c.Ping())
}

// Without automatic creation of topics, a publish to an unknown first-level topic is refused. It is never acknowledged as if it were
// stored.
//
// Proves 3.1.1: [MQTT-3.9.3-2]
// Proves 5.0: [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.9.3-2]
func TestAnUnknownFirstLevelTopicIsRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.NoAutoCreate, c.KnownTopics = true, []string{"T"} })
	five := n.Connect(packet.V5, "five")
	five.Send(&packet.Publish{Topic: "nope/a", QoS: 1, PacketID: 1})
	five.ExpectAck(packet.PUBACK, 1, packet.TopicNameInvalid)
	five.Send(&packet.Publish{Topic: "nope/a", QoS: 2, PacketID: 1})
	five.ExpectAck(packet.PUBREC, 1, packet.TopicNameInvalid)
	require.Equal(t, []packet.Code{packet.TopicFilterInvalid, 1}, five.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "nope/#"}, {Filter: "T/#", QoS: 1}}}))
	three := n.Connect(packet.V311, "three")
	require.Equal(t, []packet.Code{0x80, 1}, three.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "nope/#"}, {Filter: "T/#", QoS: 1}}}))
	three.Send(&packet.Publish{Topic: "nope/a", QoS: 1, PacketID: 1})
	three.ExpectClosed()
	five.Publish(1, "T/a", "x")
	five.ExpectPublish("T/a", "x")
}

// Proves 5.0: [MQTT-3.2.2-8]
func TestConnectionsOverTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections = 2 })
	a := n.Connect(packet.V5, "a")
	n.Connect(packet.V311, "b")
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("c").Code)
	require.EqualValues(t, 3, n.Dial(packet.V311).TryConnect("c").Code)
	a.Disconnect()
	mqtttest.Eventually(t, "there is room", func() bool { return n.Dial(packet.V5).TryConnect("c").Code == packet.Success })
}
