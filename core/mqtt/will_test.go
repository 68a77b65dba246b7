package mqtt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func will(qos byte, retain bool, payload string) mqtttest.Option {
	return mqtttest.Will(packet.Will{Topic: "W/a", Payload: []byte(payload), QoS: qos, Retain: retain})
}

// delayed returns a CONNECT option with a will that has a delay.
func delayed(seconds uint32, payload string) mqtttest.Option {
	return mqtttest.Will(packet.Will{Topic: "W/a", Payload: []byte(payload), QoS: 1,
		Properties: &packet.Properties{WillDelayInterval: &seconds}})
}

// Proves 3.1.1: [MQTT-3.1.2-8] [MQTT-3.1.2-16] [MQTT-3.1.2-17]
// Proves 5.0: [MQTT-3.1.2-8] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
func TestAWillIsPublishedAsAskedWhenTheConnectionEnds(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		watch := n.Connect(v, "watch")
		watch.Subscribe(2, "W/#")
		for qos := byte(0); qos <= 2; qos++ {
			retain := qos == 1
			n.Connect(v, "c", will(qos, retain, "gone")).Close()
			p := watch.ExpectPublish("W/a", "gone")
			require.Equal(t, qos, p.QoS)
			require.False(t, p.Retain)
			watch.Ack(p)
		}
		late := n.Connect(v, "late")
		mqtttest.Eventually(t, "the will is retained", func() bool { return n.Meta.RetainedCount() == 1 })
		late.Subscribe(1, "W/#")
		require.True(t, late.ExpectPublish("W/a", "gone").Retain, "the one that was to be retained")
		n.Connect(v, "c", will(1, true, "")).Close() // an empty will payload is a valid payload and clears the retained message
		watch.ExpectPublish("W/a", "")
		late.ExpectPublish("W/a", "")
		mqtttest.Eventually(t, "nothing is retained", func() bool { return n.Meta.RetainedCount() == 0 })
		late.Subscribe(1, "W/#")
		require.Empty(t, late.Ping())
	})
}

// Proves 3.1.1: [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
// Proves 5.0: [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
func TestAWillIsDroppedByDisconnectAndByNothingElse(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		watch := n.Connect(v, "watch")
		watch.Subscribe(1, "W/#")
		expect := func(why string) {
			t.Helper()
			watch.Ack(watch.ExpectPublish("W/a", why))
		}
		n.Connect(v, "c", will(1, false, "disconnect")).Disconnect()

		c := n.Connect(v, "c", will(1, false, "protocol error"))
		c.Send(&packet.Connect{Version: v, ClientID: "c"})
		c.ExpectDisconnect(packet.ProtocolError)
		expect("protocol error")

		c = n.Connect(v, "c", will(1, false, "malformed"))
		c.SendRaw(0xC1, 0)
		c.ExpectDisconnect(packet.MalformedPacket)
		expect("malformed")

		c = n.Connect(v, "c", will(1, false, "keep alive"), mqtttest.KeepAlive(1))
		c.ExpectDisconnect(packet.KeepAliveTimeout)
		expect("keep alive")

		c = n.Connect(v, "c", will(1, false, "takeover"))
		n.Connect(v, "c", will(1, false, "second")).Disconnect()
		c.ExpectDisconnect(packet.SessionTakenOver)
		expect("takeover")

		if v == packet.V5 {
			c = n.Connect(v, "c", will(1, false, "asked for"))
			c.Send(&packet.Disconnect{Code: packet.DisconnectWithWill})
			c.ExpectClosed()
			expect("asked for")
			ten := uint32(10)
			c = n.Connect(v, "c", will(1, false, "expiry raised from 0"))
			c.Send(&packet.Disconnect{Properties: &packet.Properties{SessionExpiryInterval: &ten}})
			c.ExpectDisconnect(packet.ProtocolError)
			expect("expiry raised from 0")
		}
		watch.ExpectNothing()
	})
}

// Proves 5.0: [MQTT-3.1.2-8] [MQTT-3.1.3-9]
func TestADelayedWillWaitsForTheDelayOrTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	watch := n.Connect(packet.V5, "watch")
	watch.Subscribe(1, "W/#")
	expect := func(why string) {
		t.Helper()
		watch.Ack(watch.ExpectPublish("W/a", why))
	}
	begin := time.Now()
	n.Connect(packet.V5, "c", mqtttest.Keep, delayed(1, "delay")).Close()
	expect("delay")
	require.GreaterOrEqual(t, time.Since(begin), time.Second)

	begin = time.Now()
	n.Connect(packet.V5, "d", mqtttest.Expiry(1), delayed(100, "expiry")).Close()
	expect("expiry")
	require.GreaterOrEqual(t, time.Since(begin), time.Second)

	n.Connect(packet.V5, "e", delayed(100, "no session")).Close()
	expect("no session")

	n.Connect(packet.V5, "f", mqtttest.Keep, delayed(100, "clean start")).Close()
	f := n.Connect(packet.V5, "f")
	expect("clean start")
	f.Disconnect()

	n.Connect(packet.V5, "g", mqtttest.Keep, delayed(100, "takeover with clean start"))
	g := n.Connect(packet.V5, "g")
	expect("takeover with clean start")
	g.Disconnect()

	// The will of a client that is back in time is dropped, even if the client took over its own connection.
	n.Connect(packet.V5, "h", mqtttest.Keep, delayed(8, "back")).Close()
	h := n.Connect(packet.V5, "h", mqtttest.Keep, delayed(8, "back again"))
	i := n.Connect(packet.V5, "h", mqtttest.Keep)
	h.ExpectDisconnect(packet.SessionTakenOver)
	n.Connect(packet.V5, "j", mqtttest.Keep, delayed(9, "end")).Close()
	expect("end")
	i.Disconnect()
}

// Proves 3.1.1: [MQTT-3.1.2-8]
// Proves 5.0: [MQTT-3.1.2-7] [MQTT-3.1.2-8]
func TestWillsSurviveTheirNode(t *testing.T) {
	// Long enough for the client to reconnect on a busy machine.
	grace := func(c *mqtttest.Config) { c.Session.WillGrace = 8 * time.Second }
	for _, how := range []string{"stop", "crash"} {
		t.Run(how, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
				n.Connect(v, "watch", mqtttest.Keep).Subscribe(1, "W/#")
				n.Connect(v, "back", will(1, false, "back"))
				n.Connect(v, "away", will(1, false, "away"))
				if how == "crash" {
					n.Crash()
				} else {
					n.Stop()
				}
				n.Restart()
				watch := n.Connect(v, "watch", mqtttest.Keep)
				n.Connect(v, "back")
				watch.Ack(watch.ExpectPublish("W/a", "away"))
				watch.ExpectNothing()
			}, grace)
		})
	}
}

// Proves 5.0: [MQTT-3.1.3-10]
func TestAWillCarriesItsProperties(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	watch := n.Connect(packet.V5, "watch")
	watch.Subscribe(1, "W/#")
	one, expiry, kind, answer := byte(1), uint32(60), "text", "R/a"
	n.Connect(packet.V5, "c", mqtttest.Will(packet.Will{Topic: "W/a", Payload: []byte("x"), Properties: &packet.Properties{
		PayloadFormat: &one, MessageExpiryInterval: &expiry, ContentType: &kind, ResponseTopic: &answer, CorrelationData: []byte{0, 1},
		User: []packet.UserProperty{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}}}})).Close()
	p := watch.ExpectPublish("W/a", "x").Properties
	require.Equal(t, one, *p.PayloadFormat)
	require.LessOrEqual(t, *p.MessageExpiryInterval, expiry)
	require.GreaterOrEqual(t, *p.MessageExpiryInterval, expiry-20)
	require.Equal(t, kind, *p.ContentType)
	require.Equal(t, answer, *p.ResponseTopic)
	require.Equal(t, []byte{0, 1}, p.CorrelationData)
	require.Equal(t, []packet.UserProperty{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}}, p.User)
	require.Nil(t, p.WillDelayInterval)
}

// Proves 5.0: [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
func TestOnlyANormalDisconnectionDropsTheWill(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(1, "T/#")
	for _, code := range []packet.Code{packet.NormalDisconnection, packet.DisconnectWithWill, packet.UnspecifiedError, packet.AdministrativeAction} {
		c := n.Connect(packet.V5, "c", mqtttest.Will(packet.Will{Topic: "T/will", Payload: []byte(code.String())}))
		c.Send(&packet.Disconnect{Code: code})
		c.ExpectClosed()
		if code != packet.NormalDisconnection {
			sub.ExpectPublish("T/will", code.String())
		}
	}
	n.Connect(packet.V5, "pub").Publish(1, "T/end", "end")
	sub.ExpectPublish("T/end", "end")
}

// Proves 5.0: [MQTT-3.1.4-2]
func TestAWillThatIsNotWhatItsFormatSaysIsRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for payload, want := range map[string]packet.Code{"ü": packet.Success, "\xff": packet.PayloadFormatInvalid} {
		c := n.Dial(packet.V5)
		a := c.TryConnect("c", mqtttest.Will(packet.Will{Topic: "T/will", Payload: []byte(payload), Properties: &packet.Properties{PayloadFormat: new(byte(1))}}))
		require.Equal(t, want, a.Code)
		if want == packet.Success {
			c.Disconnect()
		} else {
			c.ExpectClosed()
		}
	}
}
