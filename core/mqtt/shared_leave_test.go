package mqtt_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestWhatAMemberDidNotAcknowledgeGoesToAnotherWhenItLeaves(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		a := n.Connect(v, "a", kind)
		a.Subscribe(1, sharedT)
		for i := range 10 {
			pub.Publish(1, "T/a", strconv.Itoa(i))
		}
		for i := range 10 {
			p := a.ExpectPublish("T/a", strconv.Itoa(i))
			if i%2 == 0 {
				a.Ack(p)
			}
		}
		require.Empty(t, a.Ping())
		b := n.Connect(v, "b", kind)
		b.Subscribe(1, sharedT)
		nothingFor(t, b)
		a.Close()
		for i := 1; i < 10; i += 2 {
			p := b.ExpectPublish("T/a", strconv.Itoa(i))
			require.False(t, p.Dup, "it was never sent to this client")
			b.Ack(p)
		}
		require.Empty(t, b.Ping())
		// The member that left gets none of them when it is back.
		a = n.Connect(v, "a", kind)
		a.Subscribe(1, sharedT)
		nothingFor(t, a, b)
		pub.Publish(1, "T/a", "new")
		gather(t, 1, a, b)
	})
}

func TestAMessageIsAcknowledgedByTheClientNotByTheSocket(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		keeper := n.Connect(v, "keeper", mqtttest.Keep) // so that the group outlives the node
		keeper.Subscribe(1, sharedT)
		keeper.Disconnect()
		mqtttest.Eventually(t, "the keeper is gone", func() bool { return n.Server.Connections() == 1 })
		a := n.Connect(v, "a", kind)
		a.Subscribe(1, sharedT)
		for i := range 20 {
			pub.Publish(1, "T/a", strconv.Itoa(i))
		}
		for i := range 20 {
			p := a.ExpectPublish("T/a", strconv.Itoa(i))
			if i < 5 || i == 11 {
				a.Ack(p)
			}
		}
		require.Empty(t, a.Ping())
		acknowledged(t, n, 6)
		n.Crash()
		n.Restart()
		b := n.Connect(v, "b", kind)
		got := map[string]bool{}
		early := join(b)
		for len(got) < 14 {
			for _, p := range append(early, b.Ping()...) {
				m, ok := p.(*packet.Publish)
				require.True(t, ok)
				require.False(t, got[string(m.Payload)])
				got[string(m.Payload)] = true
				b.Ack(m)
			}
			early = nil
		}
		for i := range 20 {
			require.Equal(t, i >= 5 && i != 11, got[strconv.Itoa(i)], "message %d", i)
		}
		nothingFor(t, b)
	})
}

// Proves 5.0: [MQTT-4.8.2-4]
func TestAQoS2MessageOfAGroupIsCompletedWithTheSameMember(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		a := n.Connect(v, "a", mqtttest.Keep)
		a.Subscribe(2, sharedT)
		for i := range 3 {
			pub.Publish(2, "T/a", strconv.Itoa(i))
		}
		var sent []*packet.Publish
		for i := range 3 {
			sent = append(sent, a.ExpectPublish("T/a", strconv.Itoa(i)))
		}
		a.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: sent[0].PacketID})
		a.ExpectAck(packet.PUBREL, sent[0].PacketID, packet.Success)
		b := n.Connect(v, "b", mqtttest.Keep)
		b.Subscribe(2, sharedT)
		a.Close()
		nothingFor(t, b)
		a = n.Connect(v, "a", mqtttest.Keep)
		require.True(t, a.Connack.SessionPresent)
		a.ExpectAck(packet.PUBREL, sent[0].PacketID, packet.Success)
		a.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: sent[0].PacketID})
		for i := 1; i < 3; i++ {
			p := a.ExpectPublish("T/a", strconv.Itoa(i))
			require.True(t, p.Dup)
			require.Equal(t, sent[i].PacketID, p.PacketID)
		}
		a.Ack(sent[1])
		a.Ack(sent[2])
		nothingFor(t, a, b)
	})
}

// Proves 5.0: [MQTT-4.8.2-5]
func TestAQoS2MessageOfAGroupIsSentToNobodyElseWhenItsSessionEnds(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		a := n.Connect(v, "a", kind)
		a.Subscribe(2, sharedT)
		for i := range 3 {
			pub.Publish(2, "T/a", strconv.Itoa(i))
			a.ExpectPublish("T/a", strconv.Itoa(i))
		}
		b := n.Connect(v, "b", kind)
		b.Subscribe(2, sharedT)
		a.Close()
		n.Connect(v, "a").Disconnect() // a clean start ends the session
		nothingFor(t, b)
		pub.Publish(2, "T/a", "new")
		b.Ack(b.ExpectPublish("T/a", "new"))
		b.Disconnect()
		c := n.Connect(v, "c")
		c.Subscribe(2, sharedT)
		nothingFor(t, c)
	})
}

// Proves 5.0: [MQTT-4.8.2-6]
func TestAMessageThatAMemberRefusesIsDiscarded(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	a, b := n.Connect(packet.V5, "a"), n.Connect(packet.V5, "b")
	a.Subscribe(2, sharedT)
	for i := range 4 {
		pub.Publish(byte(1+i%2), "T/a", strconv.Itoa(i))
	}
	for i := range 4 {
		p := a.ExpectPublish("T/a", strconv.Itoa(i))
		kind := packet.PUBACK
		if p.QoS == 2 {
			kind = packet.PUBREC
		}
		a.Send(&packet.Ack{Kind: kind, PacketID: p.PacketID, Code: packet.UnspecifiedError})
	}
	require.Empty(t, a.Ping())
	b.Subscribe(2, sharedT)
	a.Close()
	nothingFor(t, b)
}

func TestAGroupWhoseMembersAllSleepKeepsItsBacklog(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		for _, id := range []string{"a", "b"} {
			c := n.Connect(v, id, mqtttest.Keep)
			c.Subscribe(1, sharedT)
			c.Disconnect()
		}
		for i := range 50 {
			pub.Publish(1, "T/a", strconv.Itoa(i))
		}
		n.Restart()
		pub = n.Connect(v, "pub")
		for i := 50; i < 100; i++ {
			pub.Publish(1, "T/a", strconv.Itoa(i))
		}
		a, b := n.Connect(v, "a", mqtttest.Keep), n.Connect(v, "b", mqtttest.Keep)
		require.True(t, a.Connack.SessionPresent)
		gather(t, 100, a, b)
		nothingFor(t, a, b)
	})
}

func TestMembersComeAndGoAndNothingIsLostOrStuck(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		steady := n.Connect(v, "steady", kind)
		steady.Subscribe(1, sharedT)
		const count = 400
		open := map[string]bool{}
		acked := map[string]bool{}
		sent := 0
		for round := 0; sent < count; round++ {
			c := n.Connect(v, "c"+strconv.Itoa(round%3), kind)
			early := join(c)
			for range 20 {
				pub.Publish(1, "T/"+strconv.Itoa(sent%7), strconv.Itoa(sent))
				sent++
			}
			for i, p := range append(early, c.Ping()...) {
				m, ok := p.(*packet.Publish)
				require.True(t, ok)
				require.False(t, acked[string(m.Payload)], "message %s was acknowledged and comes again", m.Payload)
				if i%3 == 0 {
					open[string(m.Payload)] = true
					continue
				}
				c.Ack(m)
				acked[string(m.Payload)] = true
			}
			c.Ping() // so that the server has read the acknowledgements
			c.Close()
		}
		deadline := time.Now().Add(mqtttest.Patience)
		for len(acked) < count {
			require.True(t, time.Now().Before(deadline), "%d of %d messages were delivered", len(acked), count)
			for _, p := range steady.Ping() {
				m, ok := p.(*packet.Publish)
				require.True(t, ok)
				require.False(t, acked[string(m.Payload)], "message %s was acknowledged and comes again", m.Payload)
				acked[string(m.Payload)] = true
				steady.Ack(m)
			}
		}
		require.NotEmpty(t, open)
		nothingFor(t, steady)
	})
}
