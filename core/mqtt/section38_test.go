package mqtt_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Sections 3.4 to 3.14: acknowledgements, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT.

// Proves 3.1.1: [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5]
// Proves 5.0: [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2]
func TestUNSUBACKComesAlsoWhereThereIsNothingToDelete(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		c := n.Connect(v, "c", kind)
		c.Subscribe(1, "T/a")
		for _, f := range []string{"T/A", "T/a/", "T/+", "T/#", "/T/a", "nothing", "T/a "} {
			codes := c.Unsubscribe(f)
			if v == packet.V5 {
				require.Equal(t, []packet.Code{packet.NoSubscriptionExisted}, codes, f)
			}
		}
		c.Publish(1, "T/a", "still subscribed")
		c.ExpectPublish("T/a", "still subscribed")
	})
}

// Several filters in one packet act like several packets with one filter each.
//
// Proves 3.1.1: [MQTT-3.8.4-4] [MQTT-3.10.4-6]
// Proves 5.0: [MQTT-3.8.4-5] [MQTT-3.10.4-6]
func TestFiltersOfOnePacketActOneAfterTheOther(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c")
		codes := c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", QoS: 1}, {Filter: "T/a", QoS: 2}, {Filter: "T/+", QoS: 0}, {Filter: "T/a", QoS: 1}}})
		require.Equal(t, []packet.Code{1, 2, 0, 1}, codes)
		pub.Publish(2, "T/a", "live")
		p := c.ExpectPublish("T/a", "live")
		require.EqualValues(t, 1, p.QoS, "the last of equal filters holds")
		c.Ack(p)
		codes = c.Unsubscribe("T/a", "T/a", "T/+")
		if v == packet.V5 {
			require.Equal(t, []packet.Code{packet.Success, packet.NoSubscriptionExisted, packet.Success}, codes)
		}
		pub.Publish(2, "T/a", "nobody's")
		require.Empty(t, c.Ping())
	})
}

// The server sends each kind of acknowledgement to clients with ever smaller maximum packet sizes.
//
// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3]
// Proves 5.0: [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]
func TestNoAnswerIsLargerThanTheClientTakes(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	reasons := map[packet.Type]bool{}
	for limit := uint32(300); limit >= 40; limit -= 5 { // CONNACK takes 39 bytes
		c := n.Connect(packet.V5, "c", mqtttest.Props(func(p *packet.Properties) { p.MaximumPacketSize = &limit }))
		fits := func(p packet.Packet) packet.Packet {
			t.Helper()
			require.LessOrEqual(t, packet.Size(p, packet.V5), int(limit), "%+v", p)
			return p
		}
		c.Send(&packet.Publish{Topic: "no/a", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "no/a", QoS: 2, PacketID: 2},
			&packet.Ack{Kind: packet.PUBREC, PacketID: 3}, &packet.Ack{Kind: packet.PUBREL, PacketID: 4})
		for range 4 {
			a := fits(c.Next()).(*packet.Ack) //nolint:forcetypeassert // nothing else comes
			if a.Properties != nil {
				require.Empty(t, a.Properties.User)
				reasons[a.Kind] = true
			}
		}
		c.Send(&packet.Subscribe{PacketID: 5, Filters: []packet.Subscription{{Filter: "no/a"}}}, &packet.Unsubscribe{PacketID: 6, Filters: []string{"T/none"}})
		s := fits(c.Next()).(*packet.Suback) //nolint:forcetypeassert // as above
		if s.Properties != nil {
			require.Empty(t, s.Properties.User)
			reasons[packet.SUBACK] = true
		}
		u := fits(c.Next()).(*packet.Unsuback) //nolint:forcetypeassert // as above
		require.True(t, u.Properties == nil || len(u.Properties.User) == 0)
		c.SendRaw(0x36, 0)                       // QoS 3
		d := fits(c.Next()).(*packet.Disconnect) //nolint:forcetypeassert // as above
		require.Equal(t, packet.MalformedPacket, d.Code)
		if d.Properties != nil {
			require.Empty(t, d.Properties.User)
			reasons[packet.DISCONNECT] = true
		}
		c.ExpectClosed()
	}
	for _, kind := range []packet.Type{packet.PUBACK, packet.PUBREC, packet.SUBACK, packet.DISCONNECT} {
		require.True(t, reasons[kind], "%s has a reason where there is room", kind)
	}
}

// Proves 5.0: [MQTT-3.1.2-29]
func TestOnlyCONNACKAndDISCONNECTSayWhyToClientsThatDoNotWantToKnow(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	c := n.Connect(packet.V5, "c", mqtttest.Props(func(p *packet.Properties) { p.RequestProblemInformation = new(byte(0)) }))
	c.Send(&packet.Publish{Topic: "no/a", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "no/a", QoS: 2, PacketID: 2},
		&packet.Ack{Kind: packet.PUBREC, PacketID: 3}, &packet.Ack{Kind: packet.PUBREL, PacketID: 4})
	for range 4 {
		require.Nil(t, mqtttest.Expect[*packet.Ack](c).Properties)
	}
	c.Send(&packet.Subscribe{PacketID: 5, Filters: []packet.Subscription{{Filter: "no/a"}}}, &packet.Unsubscribe{PacketID: 6, Filters: []string{"T/none"}})
	require.Nil(t, mqtttest.Expect[*packet.Suback](c).Properties)
	require.Nil(t, mqtttest.Expect[*packet.Unsuback](c).Properties)
	// The user properties of a published message are not problem information.
	c.Subscribe(0, "T/#")
	user := []packet.UserProperty{{Key: "k", Value: "v"}}
	c.PublishPacket(&packet.Publish{Topic: "T/a", Properties: &packet.Properties{User: user}})
	require.Equal(t, user, c.ExpectPublish("T/a", "").Properties.User)
}

// Proves 5.0: [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2]
func TestTheServersDISCONNECTHasACodeAndNoSessionExpiry(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for name, c := range map[string]struct {
		do   func(c *mqtttest.Client)
		code packet.Code
	}{
		"takeover":       {func(*mqtttest.Client) { n.Connect(packet.V5, "c", mqtttest.Keep) }, packet.SessionTakenOver},
		"malformed":      {func(c *mqtttest.Client) { c.SendRaw(0) }, packet.MalformedPacket},
		"protocol error": {func(c *mqtttest.Client) { c.SendRaw(0x20, 0) }, packet.ProtocolError},
		"too large":      {func(c *mqtttest.Client) { c.SendRaw(0x30, 0xff, 0xff, 0xff, 0x7f) }, packet.PacketTooLarge},
		"expiry from 0": {func(c *mqtttest.Client) {
			c.Send(&packet.Disconnect{Properties: &packet.Properties{SessionExpiryInterval: new(uint32(0))}})
			c.ExpectClosed()
		}, 0},
	} {
		t.Log(name)
		cl := n.Connect(packet.V5, "c", mqtttest.Keep)
		c.do(cl)
		if c.code == 0 {
			continue
		}
		d := mqtttest.Expect[*packet.Disconnect](cl)
		require.Equal(t, c.code, d.Code)
		require.True(t, d.Properties == nil || d.Properties.SessionExpiryInterval == nil)
		cl.ExpectClosed()
	}
	c := n.Connect(packet.V5, "stop")
	n.Stop()
	d := mqtttest.Expect[*packet.Disconnect](c)
	require.Equal(t, packet.ServerShuttingDown, d.Code)
	require.True(t, d.Properties == nil || d.Properties.SessionExpiryInterval == nil)
	c.ExpectClosed()
}

// Proves 3.1.1: [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-1]
// Proves 5.0: [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-1]
func TestAnyTextThatIsAFilterIsTaken(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c")
		pub := n.Connect(v, "pub")
		invalid := packet.TopicFilterInvalid
		if v == packet.V311 {
			invalid = 0x80
		}
		require.Equal(t, []packet.Code{invalid, 0}, c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: ""}, {Filter: "T"}}}))
		filters := []string{"T/\U0001F600", "T/\u00e9", "T/e\u0301", "T/\x01", "T/ ", "T/\t", "T/\u200d", "T/\\", "T/\"", "T/%s", "T/" + strings.Repeat("/", 50), "a", "/", " "}
		c.Subscribe(1, filters...)
		for i, f := range filters {
			pub.Publish(1, f, fmt.Sprint(i))
			c.Ack(c.ExpectPublish(f, fmt.Sprint(i)))
		}
		c.Unsubscribe(filters...)
		for _, f := range filters {
			pub.Publish(1, f, "gone")
		}
		require.Empty(t, c.Ping())
	})
}
