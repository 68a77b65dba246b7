package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Sections 3.1 and 3.2: CONNECT and CONNACK.

// Proves 3.1.1: [MQTT-3.1.4-5]
// Proves 5.0: [MQTT-3.1.4-6] [MQTT-3.2.0-2]
func TestNothingIsProcessedAfterACONNECTThatIsRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority = &mqtttest.Rules{Admit: func(r auth.Request) error {
			if strings.HasPrefix(r.ClientID, "bad") {
				return &auth.Denied{Reason: auth.NotAuthorized}
			}
			return nil
		}}
	})
	spy := n.Connect(packet.V5, "spy")
	spy.Subscribe(1, "#")
	for _, v := range versions {
		c := n.Dial(v)
		c.Send(&packet.Connect{Version: v, CleanStart: true, ClientID: "bad", Will: &packet.Will{Topic: "T/will"}},
			&packet.Connect{Version: v, CleanStart: true, ClientID: "good"},
			&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("x")},
			&packet.Subscribe{PacketID: 2, Filters: []packet.Subscription{{Filter: "#"}}}, &packet.Pingreq{}, &packet.Disconnect{})
		a := mqtttest.Expect[*packet.Connack](c)
		require.NotEqual(t, packet.Success, a.Code)
		c.ExpectClosed()
	}
	n.Connect(packet.V311, "pub").Publish(1, "T/a", "end")
	spy.ExpectPublish("T/a", "end")
	require.Zero(t, n.Meta.RetainedCount())
}

// Proves 3.1.1: [MQTT-3.1.2-12]
// Proves 5.0: [MQTT-3.1.2-8]
func TestWithoutAWillNothingIsPublished(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		watch := n.Connect(v, "watch")
		watch.Subscribe(1, "#")
		n.Connect(v, "c", will(1, false, "of an earlier connection")).Disconnect()
		n.Connect(v, "c", mqtttest.Keep, will(1, false, "of an earlier connection")).Disconnect()
		n.Connect(v, "c", mqtttest.Keep).Close()
		n.Connect(v, "c").Close()
		mqtttest.Eventually(t, "the connections are gone", func() bool { return n.Server.Connections() == 1 })
		n.Connect(v, "pub").Publish(1, "T/a", "end")
		watch.ExpectPublish("T/a", "end")
	})
}

// Proves 3.1.1: [MQTT-3.1.2-9]
// Proves 5.0: [MQTT-3.1.2-9]
func TestAWillIsReadFromThePayloadOfConnect(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		watch := n.Connect(v, "watch")
		watch.Subscribe(2, "T/#")
		c := n.Dial(v)
		rest := []byte{0, 1, 'x'}
		if v == packet.V5 {
			rest = append(rest, 4, 3, 0, 1, 't') // will properties: a content type
		}
		rest = append(rest, 0, 3, 'T', '/', 'w', 0, 2, 'h', 'i')
		c.SendRaw(connectBytes("MQTT", byte(v), 2|4|2<<3, rest...)...)
		require.Equal(t, packet.Success, mqtttest.Expect[*packet.Connack](c).Code)
		c.Close()
		p := watch.ExpectPublish("T/w", "hi")
		require.EqualValues(t, 2, p.QoS)
		require.Equal(t, v == packet.V5, p.Properties != nil && p.Properties.ContentType != nil)
	})
}

// A server that has no fitting return code closes the connection without a CONNACK. In 3.1.1, no return code stands for a malformed
// CONNECT.
//
// Proves 3.1.1: [MQTT-3.2.2-6]
func TestWhereNoReturnCodeFitsTheConnectionIsClosedWithoutOne(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, flags := range []byte{2 | 8, 2 | 0x20, 2 | 0x40, 3} {
		c := n.Dial(packet.V311)
		c.SendRaw(connectBytes("MQTT", 4, flags, 0, 1, 'x', 0, 1, 'p')...)
		c.ExpectClosed()
	}
	c := n.Dial(packet.V311) // an invalid will topic has no return code either
	c.SendRaw(connectBytes("MQTT", 4, 2|4, 0, 1, 'x', 0, 3, 'a', '/', '#', 0, 0)...)
	c.ExpectClosed()
}

// Reason strings and other optional properties are left out of a CONNACK that would exceed the client's maximum packet size.
//
// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20]
func TestACONNACKIsNeverLargerThanTheClientTakes(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	whole := 0
	for limit := uint32(200); limit > 0; limit-- {
		c := n.Dial(packet.V5)
		c.Send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c", Will: &packet.Will{Topic: "no/will"},
			Properties: &packet.Properties{MaximumPacketSize: &limit}})
		if limit < 5 {
			c.ExpectClosed()
			c.Close()
			continue
		}
		a := mqtttest.Expect[*packet.Connack](c)
		require.LessOrEqual(t, packet.Size(a, packet.V5), int(limit))
		require.Equal(t, packet.NotAuthorized, a.Code)
		if a.Properties != nil {
			require.Empty(t, a.Properties.User)
			if a.Properties.ReasonString != nil {
				whole++
			}
		}
		c.ExpectClosed()
		c.Close()
	}
	require.Positive(t, whole)
	require.Less(t, whole, 190)
}

// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
func TestAnAUTHIsNeverLargerThanTheClientTakes(t *testing.T) {
	t.Parallel()
	n, _ := startRiddles(t)
	asked := 0
	for limit := uint32(60); limit >= 10; limit -= 2 {
		c := n.Dial(packet.V5)
		c.Send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c",
			Properties: &packet.Properties{MaximumPacketSize: &limit, AuthenticationMethod: new("RIDDLE")}})
		p := c.Next()
		require.LessOrEqual(t, packet.Size(p, packet.V5), int(limit))
		if a, ok := p.(*packet.Auth); ok {
			asked++
			require.Nil(t, a.Properties.ReasonString)
			require.Empty(t, a.Properties.User)
			c.Send(step(packet.ContinueAuthentication, "RIDDLE", "wrong"))
			p = c.Next()
			require.LessOrEqual(t, packet.Size(p, packet.V5), int(limit))
		}
		require.True(t, p.(*packet.Connack).Code.Failed()) //nolint:forcetypeassert // nothing else may come
		c.ExpectClosed()
		c.Close()
	}
	require.Positive(t, asked)
	require.Less(t, asked, 26)
}

// A CONNACK does not restrict QoS 2, wildcards and retained messages, which the server supports.
func TestNothingThatTheServerHasIsDenied(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	p := n.Connect(packet.V5, "c", mqtttest.Will(packet.Will{Topic: "T/a", QoS: 2, Retain: true})).Connack.Properties
	require.Nil(t, p.MaximumQoS)
	require.Nil(t, p.RetainAvailable)
	require.Nil(t, p.WildcardSubscriptionAvailable)
	require.Nil(t, p.SubscriptionIdentifierAvailable)
}

// Proves 3.1.1: [MQTT-4.1.0-2]
// Proves 5.0: [MQTT-4.1.0-1]
func TestASessionLastsAtLeastAsLongAsItsConnection(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.SessionExpiryMax = time.Second })
	pub := n.Connect(packet.V5, "pub")
	type kind struct {
		v packet.Version
		o mqtttest.Option
	}
	clients, open := map[string]*mqtttest.Client{}, map[string]*packet.Publish{}
	for name, k := range map[string]kind{
		"clean":      {packet.V311, func(*packet.Connect) {}},
		"kept":       {packet.V311, mqtttest.Keep},
		"no expiry":  {packet.V5, func(*packet.Connect) {}},
		"one second": {packet.V5, mqtttest.Expiry(1)},
	} {
		c := n.Connect(k.v, name, k.o)
		c.Subscribe(2, "T/"+name)
		pub.Publish(2, "T/"+name, "open")
		clients[name], open[name] = c, c.ExpectPublish("T/"+name, "open")
	}
	begin := time.Now()
	mqtttest.Eventually(t, "more than the longest expiry has passed", func() bool { return time.Since(begin) > 2500*time.Millisecond })
	for name, c := range clients {
		pub.Publish(1, "T/"+name, "still there")
		c.ExpectPublish("T/"+name, "still there")
		c.Ack(open[name])
	}
}

// Proves 3.1.1: [MQTT-3.1.3-2]
// Proves 5.0: [MQTT-3.1.3-2] [MQTT-3.1.3-4]
func TestSessionsAreToldApartByTheWholeClientID(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		ids := []string{"a", "A", "a ", "a\u0301", "\u00e1", "a/", "aa", strings.Repeat("a", 23), strings.Repeat("a", 24)}
		for i, id := range ids {
			c := n.Connect(v, id, mqtttest.Keep)
			require.False(t, c.Connack.SessionPresent, "%q", id)
			c.Subscribe(1, fmt.Sprintf("T/%d", i))
			c.Disconnect()
		}
		pub := n.Connect(v, "pub")
		for i := range ids {
			pub.Publish(1, fmt.Sprintf("T/%d", i), ids[i])
		}
		for i, id := range ids {
			c := n.Connect(v, id, mqtttest.Keep)
			require.True(t, c.Connack.SessionPresent, "%q", id)
			c.Ack(c.ExpectPublish(fmt.Sprintf("T/%d", i), id))
			require.Empty(t, c.Ping())
			c.Disconnect()
		}
	})
}
