package mqtt_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// versions are the versions that most tests run with.
var versions = []packet.Version{packet.V311, packet.V5}

// eachVersion runs a test against a node with each version.
func eachVersion(t *testing.T, f func(t *testing.T, n *mqtttest.Node, v packet.Version), change ...func(*mqtttest.Config)) {
	t.Parallel()
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			f(t, mqtttest.Start(t, change...), v)
		})
	}
}

// connectBytes builds a CONNECT byte by byte.
func connectBytes(name string, level, flags byte, rest ...byte) []byte {
	body := append([]byte{0, byte(len(name))}, name...)
	body = append(body, level, flags, 0, 0)
	if level == 5 {
		body = append(body, 0)
	}
	body = append(body, rest...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

// Proves 3.1.1: [MQTT-3.1.0-1]
// Proves 5.0: [MQTT-3.1.0-1] [MQTT-3.14.0-1]
func TestNothingIsAnsweredBeforeConnect(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, v := range versions {
		for _, p := range []packet.Packet{
			&packet.Connack{},
			&packet.Publish{Topic: "T/a"},
			&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1},
			&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 1},
			&packet.Ack{Kind: packet.PUBACK, PacketID: 1},
			&packet.Ack{Kind: packet.PUBREC, PacketID: 1},
			&packet.Ack{Kind: packet.PUBREL, PacketID: 1},
			&packet.Ack{Kind: packet.PUBCOMP, PacketID: 1},
			&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "#"}}},
			&packet.Suback{PacketID: 1, Codes: []packet.Code{0}},
			&packet.Unsubscribe{PacketID: 1, Filters: []string{"#"}},
			&packet.Unsuback{PacketID: 1, Codes: []packet.Code{0}},
			&packet.Pingreq{},
			&packet.Pingresp{},
			&packet.Disconnect{},
		} {
			t.Log(v, p.Type())
			c := n.Dial(v)
			c.Send(p)
			c.ExpectClosed()
			c.Close()
		}
	}
	c := n.Dial(packet.V5)
	c.SendRaw(0xF0, 0)
	c.ExpectClosed()
	c = n.Dial(packet.V311)
	c.SendRaw(0, 0)
	c.ExpectClosed()
}

// Proves 3.1.1: [MQTT-3.1.0-2]
// Proves 5.0: [MQTT-3.1.0-2] [MQTT-3.2.0-2]
func TestASecondConnectClosesTheConnection(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "twice")
		c.Send(&packet.Connect{Version: v, CleanStart: true, ClientID: "twice"})
		c.ExpectDisconnect(packet.ProtocolError)
	})
}

// Proves 3.1.1: [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
// Proves 5.0: [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7]
func TestAnUnknownProtocolIsRefusedInTheFormOfItsLevel(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, c := range []struct {
		name   string
		proto  string
		level  byte
		answer packet.Version
	}{
		{"a level below 3.1.1", "MQTT", 2, packet.V311},
		{"level 0", "MQTT", 0, packet.V311},
		{"a level of the future", "MQTT", 6, packet.V5},
		{"a level of the far future", "MQTT", 0x7f, packet.V5},
		{"a bridge's level", "MQTT", 0x84, packet.V311},
		{"another name", "HTTP", 4, packet.V311},
		{"the name of 3.1 with the level of 3.1.1", "MQIsdp", 4, packet.V311},
		{"another name with level 5", "MQTX", 5, packet.V5},
		{"the name of 3.1 with level 5", "MQIsdp", 5, packet.V5},
	} {
		t.Log(c.name)
		cl := n.Dial(c.answer)
		cl.SendRaw(connectBytes(c.proto, c.level, 2, 0, 1, 'x')...)
		a := mqtttest.Expect[*packet.Connack](cl)
		require.False(t, a.SessionPresent)
		if c.answer == packet.V5 {
			require.Equal(t, packet.UnsupportedProtocolVersion, a.Code)
		} else {
			require.EqualValues(t, 1, a.Code)
		}
		cl.ExpectClosed()
	}
}

// Proves 3.1.1: [MQTT-3.1.2-3] [MQTT-3.1.4-1]
// Proves 5.0: [MQTT-3.1.2-3] [MQTT-3.1.2-12] [MQTT-3.1.4-1]
func TestAMalformedConnectIsNotAnsweredIn311AndRefusedIn5(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for name, body := range map[string]struct {
		flags byte
		rest  []byte
	}{
		"the reserved flag":                {3, []byte{0, 1, 'x'}},
		"will QoS 3":                       {2 | 4 | 3<<3, []byte{0, 1, 'x', 0, 1, 'w', 0, 0}},
		"a client id that is not UTF-8":    {2, []byte{0, 1, 0xff}},
		"a client id that holds U+0000":    {2, []byte{0, 1, 0}},
		"a client id that is cut off":      {2, []byte{0, 9, 'x'}},
		"bytes behind the last field":      {2, []byte{0, 1, 'x', 'y'}},
		"a user name flag without a name":  {2 | 0x80, []byte{0, 1, 'x'}},
		"a password flag without a second": {2 | 0xC0, []byte{0, 1, 'x', 0, 1, 'u'}},
	} {
		t.Log(name)
		c := n.Dial(packet.V311)
		c.SendRaw(connectBytes("MQTT", 4, body.flags, body.rest...)...)
		c.ExpectClosed()
		c = n.Dial(packet.V5)
		rest := body.rest
		if name == "will QoS 3" {
			rest = []byte{0, 1, 'x', 0, 0, 1, 'w', 0, 0}
		}
		c.SendRaw(connectBytes("MQTT", 5, body.flags, rest...)...)
		a := mqtttest.Expect[*packet.Connack](c)
		require.Equal(t, packet.MalformedPacket, a.Code)
		c.ExpectClosed()
	}
}

// Proves 3.1.1: [MQTT-3.1.2-22]
func TestAPasswordWithoutAUserNameIsForMQTT5Only(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Dial(packet.V311)
	c.SendRaw(connectBytes("MQTT", 4, 2|0x40, 0, 1, 'x', 0, 1, 'p')...)
	c.ExpectClosed()
	c = n.Dial(packet.V5)
	require.Equal(t, packet.Success, c.TryConnect("x", func(cn *packet.Connect) { cn.HasPassword, cn.Password = true, []byte("p") }).Code)
}

// Proves 3.1.1: [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.1.3-8]
func TestAnEmptyClientIDNeedsACleanSessionIn311(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	one, two := n.Connect(packet.V311, ""), n.Connect(packet.V311, "")
	require.Empty(t, one.Ping(), "the second client did not take the first one's id")
	require.Empty(t, two.Ping())
	c := n.Dial(packet.V311)
	require.EqualValues(t, 2, c.TryConnect("", mqtttest.Resume).Code)
	c.ExpectClosed()
}

// Proves 5.0: [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
func TestAnEmptyClientIDIsAssignedInMQTT5(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	a := n.Connect(packet.V5, "", mqtttest.Keep)
	b := n.Connect(packet.V5, "")
	require.NotNil(t, a.Connack.Properties.AssignedClientIdentifier)
	require.NotNil(t, b.Connack.Properties.AssignedClientIdentifier)
	id := *a.Connack.Properties.AssignedClientIdentifier
	require.NotEmpty(t, id)
	require.NotEqual(t, id, *b.Connack.Properties.AssignedClientIdentifier)
	a.Close()
	c := n.Connect(packet.V5, id, mqtttest.Keep)
	require.True(t, c.Connack.SessionPresent, "the assigned id is as good as any")
	require.Nil(t, c.Connack.Properties.AssignedClientIdentifier)
}

// Proves 3.1.1: [MQTT-3.1.3-2] [MQTT-3.1.3-5]
// Proves 5.0: [MQTT-3.1.3-2] [MQTT-3.1.3-5]
func TestLongAndUnusualClientIDsAreTaken(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		for _, id := range []string{"0123456789abcdefghijklm", strings.Repeat("x", 300), "a/b", "+", "#", "ä", "a b", "%,~"} {
			c := n.Connect(v, id, mqtttest.Keep)
			c.Disconnect()
			c = n.Connect(v, id, mqtttest.Keep)
			require.True(t, c.Connack.SessionPresent, "client id %q", id)
			c.Disconnect()
		}
	})
}

// Proves 3.1.1: [MQTT-3.1.4-4] [MQTT-3.2.0-1] [MQTT-3.12.4-1]
// Proves 5.0: [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.12.4-1]
func TestConnackIsTheFirstAnswerAlsoToPacketsThatFollowAtOnce(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Dial(v)
		c.Send(&packet.Connect{Version: v, CleanStart: true, ClientID: "eager"}, &packet.Pingreq{},
			&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 7, Payload: []byte("x")})
		mqtttest.Expect[*packet.Connack](c)
		mqtttest.Expect[*packet.Pingresp](c)
		c.ExpectAck(packet.PUBACK, 7, packet.Success)
	})
}

// Proves 3.1.1: [MQTT-3.1.2-24]
// Proves 5.0: [MQTT-3.1.2-22] [MQTT-3.2.2-22]
func TestAClientThatIsSilentForOneAndAHalfKeepAlivesIsClosed(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		none := n.Connect(v, "none", mqtttest.KeepAlive(0))
		begin := time.Now()
		silent := n.Connect(v, "silent", mqtttest.KeepAlive(1))
		silent.ExpectDisconnect(packet.KeepAliveTimeout)
		require.GreaterOrEqual(t, time.Since(begin), 1500*time.Millisecond)
		require.Empty(t, none.Ping(), "a keep alive of 0 is none")
	})
}

// Proves 3.1.1: [MQTT-3.12.4-1]
func TestAnyPacketKeepsAClientAlive(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V311, "alive", mqtttest.KeepAlive(3))
	for until := time.Now().Add(6 * time.Second); time.Now().Before(until); {
		c.ExpectNothing()
		require.Empty(t, c.Ping())
	}
}

// Proves 5.0: [MQTT-3.1.2-21] [MQTT-3.2.2-21]
func TestTheServersKeepAliveReplacesTheClients(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxKeepAlive = time.Second })
	for _, asked := range []uint16{0, 600} {
		c := n.Connect(packet.V5, "", mqtttest.KeepAlive(asked))
		require.NotNil(t, c.Connack.Properties.ServerKeepAlive)
		require.EqualValues(t, 1, *c.Connack.Properties.ServerKeepAlive)
		if asked == 0 {
			c.ExpectDisconnect(packet.KeepAliveTimeout)
		}
	}
	c := n.Connect(packet.V5, "", mqtttest.KeepAlive(1))
	require.Nil(t, c.Connack.Properties.ServerKeepAlive)
}

// Proves 3.1.1: [MQTT-4.8.0-1]
// Proves 5.0: [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.1-1] [MQTT-4.13.2-1]
func TestAMalformedPacketClosesOnlyItsConnection(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		bystander := n.Connect(v, "bystander")
		bystander.Subscribe(1, "T/#")
		for name, c := range map[string]struct {
			b    []byte
			code packet.Code
		}{
			"packet type 0":                      {[]byte{0x00, 0}, packet.MalformedPacket},
			"PINGREQ with flags":                 {[]byte{0xC1, 0}, packet.MalformedPacket},
			"SUBSCRIBE without its flag":         {[]byte{0x80, 6, 0, 1, 0, 1, 'a', 0}, packet.MalformedPacket},
			"PUBLISH with QoS 3":                 {[]byte{0x36, 5, 0, 1, 'a', 0, 1}, packet.MalformedPacket},
			"PUBLISH with DUP and QoS 0":         {[]byte{0x38, 4, 0, 1, 'a', 0}, packet.MalformedPacket},
			"a remaining length over four bytes": {[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, packet.MalformedPacket},
			"packet id 0":                        {[]byte{0x32, 6, 0, 1, 'a', 0, 0, 0}, packet.ProtocolError},
			"a topic name with a wildcard":       {[]byte{0x30, 4, 0, 1, '#', 0}, packet.TopicNameInvalid},
			"a packet of a server":               {[]byte{0x20, 2, 0, 0}, packet.ProtocolError},
			"SUBSCRIBE without filters":          {[]byte{0x82, 3, 0, 1, 0}, packet.ProtocolError},
		} {
			t.Log(name)
			if v == packet.V311 && name == "SUBSCRIBE without filters" {
				c.b = []byte{0x82, 2, 0, 1}
			}
			bad := n.Connect(v, "bad")
			bad.SendRaw(c.b...)
			bad.ExpectDisconnect(c.code)
		}
		n.Connect(v, "other").Publish(1, "T/a", "still here")
		bystander.ExpectPublish("T/a", "still here")
	})
}

// Proves 5.0: [MQTT-3.2.2-15]
func TestAPacketOverTheMaximumSizeClosesOnlyItsConnection(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxPacketSize = 200 })
	for _, v := range versions {
		c := n.Connect(v, "big")
		if v == packet.V5 {
			require.EqualValues(t, 200, *c.Connack.Properties.MaximumPacketSize)
		}
		p := &packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1}
		p.Payload = make([]byte, 200-packet.Size(p, v))
		for packet.Size(p, v) > 200 {
			p.Payload = p.Payload[1:]
		}
		c.PublishPacket(p)
		p.Payload = append(p.Payload, 0)
		c.Send(p)
		c.ExpectDisconnect(packet.PacketTooLarge)
		huge := n.Connect(v, "huge")
		huge.SendRaw(0x30, 0xff, 0xff, 0xff, 0x7f)
		huge.ExpectDisconnect(packet.PacketTooLarge)
	}
}

func TestTheServerClosesAfterDisconnect(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "bye")
		c.Send(&packet.Disconnect{})
		c.ExpectClosed()
	})
}

// Proves 3.1.1: [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-3] [MQTT-6.0.0-4]
// Proves 5.0: [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-3] [MQTT-6.0.0-4]
func TestWebSocketCarriesPacketsInBinaryFramesOfAnySize(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, v := range versions {
		c := n.DialWS(v, "mqtt").Connect("web")
		c.Subscribe(1, "T/a")
		pub := &packet.Publish{Topic: "T/a", QoS: 1, PacketID: 9, Payload: []byte("in pieces")}
		for _, b := range c.Encode(nil, pub) {
			c.SendRaw(b)
		}
		got := map[packet.Type]int{}
		for range 2 {
			got[c.Next().Type()]++
		}
		require.Equal(t, map[packet.Type]int{packet.PUBACK: 1, packet.PUBLISH: 1}, got)
		c.Send(&packet.Pingreq{}, &packet.Pingreq{})
		mqtttest.Expect[*packet.Pingresp](c)
		mqtttest.Expect[*packet.Pingresp](c)
		c.Disconnect()
	}
	ctx, cancel := context.WithTimeout(t.Context(), mqtttest.Patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, n.URL(), &websocket.DialOptions{Subprotocols: []string{"mqtt"}}) //nolint:bodyclose // websocket does
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	require.Equal(t, "mqtt", ws.Subprotocol())
	require.NoError(t, ws.Write(ctx, websocket.MessageText, connectBytes("MQTT", 4, 2, 0, 1, 'x')))
	_, _, err = ws.Read(ctx)
	require.Error(t, err, "text frames are not MQTT")
	other, _, err := websocket.Dial(ctx, n.URL(), nil) //nolint:bodyclose // websocket does
	require.NoError(t, err)
	defer func() { _ = other.CloseNow() }()
	_, _, err = other.Read(ctx)
	require.Error(t, err, "the sub-protocol is required")
}

// Proves 3.1.1: [MQTT-3.1.4-2]
// Proves 5.0: [MQTT-3.1.4-3]
func TestAStuckWebSocketDoesNotHoldUpTheClientsNextConnection(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, v := range versions {
		begin := time.Now()
		n.DialWS(v, "mqtt").Connect("stuck", mqtttest.Keep) // never reads again, so the closing handshake is not answered
		usual := time.Since(begin)                          // long on a busy machine
		begin = time.Now()
		n.DialWS(v, "mqtt").Connect("stuck", mqtttest.Keep)
		require.Less(t, time.Since(begin), 3*time.Second+10*usual)
	}
}
