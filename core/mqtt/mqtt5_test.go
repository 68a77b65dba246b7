package mqtt_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Proves 5.0: [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
func TestPropertiesOfAMessageReachTheSubscriberUnaltered(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	live := n.Connect(packet.V5, "live")
	asleep := n.Connect(packet.V5, "asleep", mqtttest.Keep)
	old := n.Connect(packet.V311, "old")
	for _, c := range []*mqtttest.Client{live, asleep, old} {
		c.Subscribe(1, "T/#")
	}
	asleep.Disconnect()
	sent := &packet.Properties{PayloadFormat: new(byte(1)), ContentType: new("text/plain"), ResponseTopic: new("R/a"),
		CorrelationData: []byte{0, 0xff, 1}, User: []packet.UserProperty{{Key: "b", Value: "1"}, {Key: "", Value: ""}, {Key: "a", Value: "ä"}, {Key: "b", Value: "1"}}}
	pub.PublishPacket(&packet.Publish{Topic: "T/a", QoS: 1, Retain: true, Payload: []byte("ü"), Properties: sent})
	require.Equal(t, sent, live.ExpectPublish("T/a", "ü").Properties)
	require.Nil(t, old.ExpectPublish("T/a", "ü").Properties)
	n.Crash()
	n.Restart()
	asleep = n.Connect(packet.V5, "asleep", mqtttest.Keep)
	require.Equal(t, sent, asleep.ExpectPublish("T/a", "ü").Properties)
	late := n.Connect(packet.V5, "late")
	late.Subscribe(0, "T/a")
	require.Equal(t, sent, late.ExpectPublish("T/a", "ü").Properties)

	// Properties that are present but empty stay present.
	empty := &packet.Properties{PayloadFormat: new(byte(0)), ContentType: new(""), CorrelationData: []byte{}}
	pub = n.Connect(packet.V5, "pub")
	pub.PublishPacket(&packet.Publish{Topic: "T/e", QoS: 1, Retain: true, Payload: []byte("x"), Properties: empty})
	require.Equal(t, empty, asleep.ExpectPublish("T/e", "x").Properties)
	n.Crash()
	n.Restart()
	late = n.Connect(packet.V5, "late")
	late.Subscribe(0, "T/e")
	require.Equal(t, empty, late.ExpectPublish("T/e", "x").Properties)
}

// Proves 5.0: [MQTT-3.3.2-5] [MQTT-3.3.2-6]
func TestAMessageThatHasExpiredIsNotDeliveredAndALaterOneSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(1, "T/#")
	c.Disconnect()
	mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 1 })
	for _, seconds := range []uint32{1, 100} {
		for _, retain := range []bool{false, true} {
			pub.PublishPacket(&packet.Publish{Topic: "T/" + strconv.Itoa(int(seconds)), QoS: 1, Retain: retain, Payload: []byte("x"),
				Properties: &packet.Properties{MessageExpiryInterval: &seconds}})
		}
	}
	begin := time.Now()
	mqtttest.Eventually(t, "a second has passed", func() bool { return time.Since(begin) > 1200*time.Millisecond })
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	late := n.Connect(packet.V5, "late")
	late.Subscribe(1, "T/#")
	for _, p := range []*packet.Publish{c.ExpectPublish("T/100", "x"), c.ExpectPublish("T/100", "x"), late.ExpectPublish("T/100", "x")} {
		left := *p.Properties.MessageExpiryInterval
		require.LessOrEqual(t, left, uint32(99))
		require.GreaterOrEqual(t, left, uint32(60))
	}
	require.Empty(t, late.Ping())
}

// An in-flight message is sent again even after it has expired. The client may know its packet id, and would take another message with the
// same id for a duplicate.
//
// Proves 5.0: [MQTT-4.3.3-7] [MQTT-4.4.0-1]
func TestAMessageInFlightIsRedeliveredAlsoWhenItHasExpired(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(2, "T/#")
	n.Connect(packet.V5, "pub").PublishPacket(&packet.Publish{Topic: "T/a", QoS: 2, Payload: []byte("x"),
		Properties: &packet.Properties{MessageExpiryInterval: new(uint32(3))}})
	first := c.ExpectPublish("T/a", "x")
	c.Close()
	begin := time.Now()
	mqtttest.Eventually(t, "it has expired", func() bool { return time.Since(begin) > 3100*time.Millisecond })
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	p := c.ExpectPublish("T/a", "x")
	require.Equal(t, first.PacketID, p.PacketID)
	require.Zero(t, *p.Properties.MessageExpiryInterval)
	c.Ack(p)
}

func receiveMaximum(n uint16) mqtttest.Option {
	return mqtttest.Props(func(p *packet.Properties) { p.ReceiveMaximum = &n })
}

// Proves 5.0: [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
func TestTheServerKeepsToTheClientsReceiveMaximum(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Keep, receiveMaximum(5))
	c.Subscribe(2, "T/#")
	for i := range 20 {
		pub.Publish(byte(1+i%2), "T/a", strconv.Itoa(i))
	}
	var open []*packet.Publish
	for i := range 5 {
		open = append(open, c.ExpectPublish("T/a", strconv.Itoa(i)))
	}
	c.ExpectNothing()
	require.Empty(t, c.Ping(), "at the bound, other packets go on")
	c.Ack(open[0])
	open = append(open, c.ExpectPublish("T/a", "5"))
	// A PUBREC alone does not free a place in the window.
	c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: open[1].PacketID})
	c.ExpectAck(packet.PUBREL, open[1].PacketID, packet.Success)
	c.ExpectNothing()
	c.Close()

	// Five messages are open, and the client's receive maximum is now 2.
	c = n.Connect(packet.V5, "c", mqtttest.Keep, receiveMaximum(2))
	c.ExpectAck(packet.PUBREL, open[1].PacketID, packet.Success)
	c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: open[1].PacketID})
	again := []*packet.Publish{c.ExpectPublish("T/a", "2"), c.ExpectPublish("T/a", "3")}
	c.ExpectNothing()
	for i := 4; i < 20; i++ {
		c.Ack(again[0])
		p := c.ExpectPublish("T/a", strconv.Itoa(i))
		require.Equal(t, i <= 5, p.Dup)
		again = append(again[1:], p)
	}
}

// Proves 5.0: [MQTT-3.3.4-7]
func TestAClientThatExceedsTheServersReceiveMaximumIsClosed(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ReceiveMaximum = 3 })
	c := n.Connect(packet.V5, "c")
	require.EqualValues(t, 3, *c.Connack.Properties.ReceiveMaximum)
	for id := uint16(1); id <= 3; id++ {
		c.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: id})
		c.ExpectAck(packet.PUBREC, id, packet.Success)
	}
	release(c, 1)
	c.PublishPacket(&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 4})
	c.PublishPacket(&packet.Publish{Topic: "T/a"}) // QoS 0 does not count
	c.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 5})
	c.ExpectAck(packet.PUBREC, 5, packet.Success)
	c.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: 6})
	c.ExpectDisconnect(packet.ReceiveMaximumExceeded)
	// 3.1.1 has no receive maximum. The server reads as fast as the store accepts messages.
	old := n.Connect(packet.V311, "old")
	for id := uint16(1); id <= 20; id++ {
		old.Send(&packet.Publish{Topic: "T/a", QoS: 2, PacketID: id})
	}
	for id := uint16(1); id <= 20; id++ {
		old.ExpectAck(packet.PUBREC, id, packet.Success)
	}
}

// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.1.2-25]
func TestNothingOverTheClientsMaximumPacketSizeIsSent(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	const limit = 100
	c := n.Connect(packet.V5, "c", mqtttest.Keep, receiveMaximum(1), mqtttest.Props(func(p *packet.Properties) {
		p.MaximumPacketSize, p.TopicAliasMaximum = new(uint32(limit)), new(uint16(10))
	}))
	c.Subscribe(1, "Topic/#")
	for size := 60; size <= 110; size++ {
		pub.Publish(byte(size%2), "Topic/"+strconv.Itoa(size), strings.Repeat("x", size))
	}
	pub.Publish(1, "Topic/end", "end")
	for {
		p := mqtttest.Expect[*packet.Publish](c)
		require.LessOrEqual(t, packet.Size(p, packet.V5), limit, p.Topic)
		c.Ack(p)
		if string(p.Payload) == "end" {
			break
		}
	}
}

// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.14.0-1]
func TestAClientThatTakesNoConnackIsRefusedWithinItsMaximumPacketSize(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for limit := uint32(1); limit <= 12; limit++ {
		c := n.Dial(packet.V5)
		c.Send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "tiny", Properties: &packet.Properties{MaximumPacketSize: &limit}})
		if limit >= 5 {
			require.Equal(t, packet.PacketTooLarge, mqtttest.Expect[*packet.Connack](c).Code)
		}
		c.ExpectClosed()
	}
	require.Zero(t, len(n.Sessions.Clients()))
}

// The client's maximum packet size admits CONNACK, but not long answers or reason strings.
//
// Proves 5.0: [MQTT-3.1.2-24] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3]
func TestReasonsThatDoNotFitAreLeftOutAndLongAnswersCloseTheConnection(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	const limit = 40
	small := mqtttest.Props(func(p *packet.Properties) { p.MaximumPacketSize = new(uint32(limit)) })
	c := n.Connect(packet.V5, "c", small)
	c.Send(&packet.Publish{Topic: "no/b", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "no/b", QoS: 2, PacketID: 2})
	for _, kind := range []packet.Type{packet.PUBACK, packet.PUBREC} {
		a := mqtttest.Expect[*packet.Ack](c)
		require.Equal(t, kind, a.Kind)
		require.Equal(t, packet.NotAuthorized, a.Code)
		require.LessOrEqual(t, packet.Size(a, packet.V5), limit)
	}
	c.Send(&packet.Subscribe{PacketID: 3, Filters: []packet.Subscription{{Filter: "no/a", QoS: 1}}})
	s := mqtttest.Expect[*packet.Suback](c)
	require.Equal(t, []packet.Code{packet.NotAuthorized}, s.Codes)
	require.Nil(t, s.Properties)
	many := make([]packet.Subscription, limit)
	filters := make([]string, limit)
	for i := range many {
		filters[i] = "T/" + strconv.Itoa(i)
		many[i] = packet.Subscription{Filter: filters[i]}
	}
	c.Send(&packet.Subscribe{PacketID: 4, Filters: many})
	d := mqtttest.Expect[*packet.Disconnect](c)
	require.Equal(t, packet.PacketTooLarge, d.Code)
	require.Nil(t, d.Properties)
	c.ExpectClosed()
	c = n.Connect(packet.V5, "c", small)
	c.Send(&packet.Unsubscribe{PacketID: 4, Filters: filters})
	c.ExpectDisconnect(packet.PacketTooLarge)
}

// Proves 5.0: [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.1.2-29]
func TestRefusalsSayWhyToClientsThatWantToKnow(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny, func(c *mqtttest.Config) { c.NoAutoCreate, c.KnownTopics = true, []string{"T"} })
	for _, want := range []bool{true, false} {
		c := n.Connect(packet.V5, "c", mqtttest.Props(func(p *packet.Properties) {
			if !want {
				p.RequestProblemInformation = new(byte(0))
			}
		}))
		said := func(p *packet.Properties, text string) {
			t.Helper()
			if !want {
				require.Nil(t, p)
				return
			}
			require.NotNil(t, p)
			require.Contains(t, *p.ReasonString, text)
		}
		c.Send(&packet.Publish{Topic: "no/b", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "unknown/b", QoS: 2, PacketID: 2},
			&packet.Publish{Topic: "T/b", QoS: 1, PacketID: 3, Payload: []byte{0xff}, Properties: &packet.Properties{PayloadFormat: new(byte(1))}},
			&packet.Ack{Kind: packet.PUBREL, PacketID: 9})
		answers := map[uint16]*packet.Ack{}
		for range 4 {
			a := mqtttest.Expect[*packet.Ack](c)
			answers[a.PacketID] = a
		}
		for id, expected := range map[uint16]struct {
			code packet.Code
			text string
		}{1: {packet.NotAuthorized, "rules"}, 2: {packet.TopicNameInvalid, "unknown"}, 3: {packet.PayloadFormatInvalid, "UTF-8"},
			9: {packet.PacketIdentifierNotFound, "packet identifier"}} {
			require.Equal(t, expected.code, answers[id].Code)
			said(answers[id].Properties, expected.text)
		}
		c.Send(&packet.Subscribe{PacketID: 4, Filters: []packet.Subscription{{Filter: "T/a"}, {Filter: "no/a"}, {Filter: "a/#/b"}}})
		s := mqtttest.Expect[*packet.Suback](c)
		require.Equal(t, []packet.Code{0, packet.NotAuthorized, packet.TopicFilterInvalid}, s.Codes)
		said(s.Properties, `"no/a": the client's rules do not allow it; "a/#/b": no filter`)
		c.Send(&packet.Subscribe{PacketID: 5, Filters: []packet.Subscription{{Filter: "T/c"}}})
		require.Nil(t, mqtttest.Expect[*packet.Suback](c).Properties, "nothing was refused")
	}
}

// Proves 5.0: [MQTT-3.1.2-28]
func TestResponseInformationIsGivenToThoseWhoAskForIt(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ResponseInformation = "T/answers/%u/%c" })
	ask := func(wanted byte) mqtttest.Option {
		return mqtttest.Props(func(p *packet.Properties) { p.RequestResponseInformation = &wanted })
	}
	named := func(cn *packet.Connect) { cn.HasUsername, cn.Username = true, "u" }
	require.Equal(t, "T/answers/u/c", *n.Connect(packet.V5, "c", ask(1), named).Connack.Properties.ResponseInformation)
	require.Nil(t, n.Connect(packet.V5, "c", ask(0)).Connack.Properties.ResponseInformation)
	require.Nil(t, n.Connect(packet.V5, "c").Connack.Properties.ResponseInformation)
	require.Nil(t, n.Connect(packet.V5, "c/#", ask(1)).Connack.Properties.ResponseInformation, "no topic can come of it")
	assigned := n.Connect(packet.V5, "", ask(1)).Connack.Properties
	require.Equal(t, "T/answers//"+*assigned.AssignedClientIdentifier, *assigned.ResponseInformation)
}

// Proves 5.0: [MQTT-4.13.2-1]
func TestClientsArePointedToTheOtherServerWhenThisOneStopsOrIsFull(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ServerReference, c.MQTT.MaxConnections = "mq2.example.com:1883", 2 })
	c := n.Connect(packet.V5, "c")
	old := n.Connect(packet.V311, "old")
	full := n.Dial(packet.V5)
	a := full.TryConnect("full")
	require.Equal(t, packet.UseAnotherServer, a.Code)
	require.Equal(t, "mq2.example.com:1883", *a.Properties.ServerReference)
	full.ExpectClosed()
	stopped := make(chan struct{})
	go func() { defer close(stopped); n.Stop() }()
	d := mqtttest.Expect[*packet.Disconnect](c)
	require.Equal(t, packet.UseAnotherServer, d.Code)
	require.Equal(t, "mq2.example.com:1883", *d.Properties.ServerReference)
	c.ExpectClosed()
	old.ExpectClosed()
	<-stopped
}

// Proves 5.0: [MQTT-3.2.2-17] [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-12]
func TestTopicAliasesOfTheClient(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(1, "T/#")
	c := n.Connect(packet.V5, "c")
	most := *c.Connack.Properties.TopicAliasMaximum
	require.NotZero(t, most)
	send := func(alias uint16, topic, payload string) {
		c.PublishPacket(&packet.Publish{Topic: topic, QoS: 1, Payload: []byte(payload), Properties: &packet.Properties{TopicAlias: &alias}})
	}
	send(1, "T/a", "1")
	require.Nil(t, sub.ExpectPublish("T/a", "1").Properties, "an alias is between two parties")
	send(1, "", "2")
	sub.ExpectPublish("T/a", "2")
	send(most, "T/b", "3")
	sub.ExpectPublish("T/b", "3")
	send(1, "T/c", "4")
	sub.ExpectPublish("T/c", "4")
	send(1, "", "5")
	sub.ExpectPublish("T/c", "5")
	for name, p := range map[string]struct {
		alias uint16
		topic string
		code  packet.Code
	}{
		"0":                  {0, "T/a", packet.TopicAliasInvalid},
		"over the maximum":   {most + 1, "T/a", packet.TopicAliasInvalid},
		"not known":          {2, "", packet.ProtocolError},
		"of an older socket": {1, "", packet.ProtocolError},
	} {
		t.Log(name)
		c := n.Connect(packet.V5, "bad")
		b, err := packet.Append(nil, &packet.Publish{Topic: p.topic, QoS: 1, PacketID: 1, Properties: &packet.Properties{TopicAlias: &p.alias}}, packet.V5)
		require.NoError(t, err)
		c.SendRaw(b...)
		c.ExpectDisconnect(p.code)
	}
	bad := n.Connect(packet.V5, "bad")
	bad.SendRaw(0x32, 5, 0, 0, 0, 1, 0) // neither a topic nor an alias
	bad.ExpectDisconnect(packet.ProtocolError)
}

// Proves 5.0: [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-11]
func TestTopicAliasesOfTheServerStayWithinTheClientsMaximum(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Keep, mqtttest.Props(func(p *packet.Properties) { p.TopicAliasMaximum = new(uint16(2)) }))
	none := n.Connect(packet.V5, "none")
	c.Subscribe(1, "Topic/#")
	none.Subscribe(1, "Topic/#")
	known := map[uint16]string{}
	saved := 0
	for i := range 12 {
		name := "Topic/" + strconv.Itoa(i%4)
		pub.Publish(1, name, strconv.Itoa(i))
		p := mqtttest.Expect[*packet.Publish](c)
		if p.Properties != nil && p.Properties.TopicAlias != nil {
			a := *p.Properties.TopicAlias
			require.True(t, a >= 1 && a <= 2, "alias %d", a)
			if p.Topic == "" {
				saved++
				p.Topic = known[a]
			}
			known[a] = p.Topic
		}
		require.Equal(t, name, p.Topic)
		require.Equal(t, strconv.Itoa(i), string(p.Payload))
		require.Nil(t, none.ExpectPublish(name, strconv.Itoa(i)).Properties)
	}
	require.Positive(t, saved)
	c.Close()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	for i := range 12 { // redelivered, without an alias
		require.Nil(t, c.ExpectPublish("Topic/"+strconv.Itoa(i%4), strconv.Itoa(i)).Properties)
	}
}

func TestAPayloadThatIsNotWhatItsFormatSaysIsRefused(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(2, "T/#")
	c := n.Connect(packet.V5, "c")
	bad := &packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1, Payload: []byte{0xff}, Properties: &packet.Properties{PayloadFormat: new(byte(1))}}
	c.Send(bad)
	c.ExpectAck(packet.PUBACK, 1, packet.PayloadFormatInvalid)
	bad.QoS, bad.PacketID = 2, 2
	c.Send(bad)
	c.ExpectAck(packet.PUBREC, 2, packet.PayloadFormatInvalid)
	c.Publish(2, "T/a", "end") // the refused packet id is free again
	sub.ExpectPublish("T/a", "end")
}

func TestReasonStringsAreOnlyForClientsThatWantThem(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, want := range []bool{true, false} {
		c := n.Connect(packet.V5, "c", mqtttest.Props(func(p *packet.Properties) {
			if !want {
				p.RequestProblemInformation = new(byte(0))
			}
		}))
		c.SendRaw(0xC1, 0)
		d := mqtttest.Expect[*packet.Disconnect](c)
		require.Equal(t, packet.MalformedPacket, d.Code)
		require.Equal(t, want, d.Properties != nil && d.Properties.ReasonString != nil)
		c.ExpectClosed()
	}
}
