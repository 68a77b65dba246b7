package mqtt_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
)

const sharedT = "$share/g/T/#"

// gather receives n messages in total from several members and sends the first answer to each. It returns which member got which payload.
func gather(t *testing.T, n int, members ...*mqtttest.Client) map[string]*mqtttest.Client {
	t.Helper()
	got := make(map[string]*mqtttest.Client, n)
	deadline := time.Now().Add(mqtttest.Patience)
	for len(got) < n {
		require.True(t, time.Now().Before(deadline), "%d of %d messages came", len(got), n)
		for _, c := range members {
			for _, p := range c.Ping() {
				if rel, ok := p.(*packet.Ack); ok {
					require.Equal(t, packet.PUBREL, rel.Kind)
					c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: rel.PacketID})
					continue
				}
				m, ok := p.(*packet.Publish)
				require.True(t, ok, "got %v", p)
				require.NotContains(t, got, string(m.Payload), "message %s came twice", m.Payload)
				got[string(m.Payload)] = c
				firstAnswer(c, m)
			}
		}
	}
	return got
}

// firstAnswer answers a message with PUBACK or PUBREC.
func firstAnswer(c *mqtttest.Client, m *packet.Publish) {
	switch m.QoS {
	case 1:
		c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: m.PacketID})
	case 2:
		c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: m.PacketID})
	}
}

// join subscribes to the group and returns the packets that came before SUBACK, which is allowed (MQTT 5, 3.8.4).
func join(c *mqtttest.Client) (early []packet.Packet) {
	c.Send(&packet.Subscribe{PacketID: c.NextID(), Filters: []packet.Subscription{{Filter: sharedT, QoS: 1}}})
	for {
		p := c.Next()
		if _, ok := p.(*packet.Suback); ok {
			return early
		}
		early = append(early, p)
	}
}

// nothingFor requires that nothing is sent to any of the members. It waits a short time, because no later packet could show that an
// unwanted message will not come.
func nothingFor(t *testing.T, members ...*mqtttest.Client) {
	t.Helper()
	for _, c := range members {
		c.ExpectNothing()
	}
}

// released completes the QoS 2 handshakes that gather left open, and waits until nothing is in flight on the node.
func released(t *testing.T, n *mqtttest.Node, members ...*mqtttest.Client) {
	t.Helper()
	mqtttest.Eventually(t, "the messages of QoS 2 are complete", func() bool {
		for _, c := range members {
			for _, p := range c.Ping() {
				rel, ok := p.(*packet.Ack)
				require.True(t, ok, "got %v", p)
				c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: rel.PacketID})
			}
		}
		return !slices.ContainsFunc(n.Sessions.Clients(), func(c session.Client) bool { return c.InFlight > 0 })
	})
}

// Proves 5.0: [MQTT-4.8.2-1] [MQTT-4.8.2-2]
func TestASharedSubscriptionBringsEachMessageToOneMember(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		pub.Publish(1, "T/a", "before the group began")
		var members []*mqtttest.Client
		for i := range 3 {
			c := n.Connect(v, fmt.Sprint("m", i), kind)
			c.Subscribe(2, sharedT)
			members = append(members, c)
		}
		other := n.Connect(v, "other", kind)
		other.Subscribe(0, "$share/h/T/#")
		plain := n.Connect(v, "plain", kind)
		plain.Subscribe(1, "T/+")
		const count = 90
		for i := range count {
			pub.Publish(byte(i%3), "T/"+strconv.Itoa(i%5), strconv.Itoa(i))
		}
		got := gather(t, count, members...)
		each := map[*mqtttest.Client]int{}
		for _, c := range got {
			each[c]++
		}
		require.Len(t, each, 3, "every member got some")
		gather(t, count, other)
		gather(t, count, plain)
		released(t, n, members...)
		nothingFor(t, members[0], members[1], members[2], other)
	})
}

// Proves 5.0: [MQTT-4.8.2-3]
func TestAGroupsMemberGetsTheQoSThatItWasGranted(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		c := n.Connect(v, "c", kind)
		for granted := range byte(3) {
			c.Subscribe(granted, sharedT) // replaces the subscription with one of another QoS
			for published := range byte(3) {
				pub.Publish(published, "T/a", "x")
				p := c.ExpectPublish("T/a", "x")
				require.Equal(t, min(granted, published), p.QoS)
				require.False(t, p.Dup)
				c.Ack(p)
			}
		}
		require.Empty(t, c.Ping())
	})
}

func TestASlowMemberGetsOnlyWhatItHasRoomFor(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	slow := n.Connect(packet.V5, "slow", mqtttest.Props(func(p *packet.Properties) { p.ReceiveMaximum = new(uint16(2)) }))
	slow.Subscribe(1, sharedT)
	quick := n.Connect(packet.V5, "quick")
	quick.Subscribe(1, sharedT)
	for i := range 200 {
		pub.Publish(1, "T/a", strconv.Itoa(i))
	}
	got := gather(t, 198, quick)
	var has []*packet.Publish
	for _, p := range slow.Ping() {
		has = append(has, p.(*packet.Publish)) //nolint:forcetypeassert // nothing else can come
	}
	require.Len(t, has, 2)
	for _, p := range has {
		require.Nil(t, got[string(p.Payload)])
		slow.Ack(p)
	}
	nothingFor(t, slow, quick)
}

// Proves 5.0: [MQTT-3.8.3-4]
func TestNoLocalOnASharedSubscriptionIsAProtocolError(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	c.Send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: sharedT, QoS: 1, NoLocal: true}}})
	c.ExpectDisconnect(packet.ProtocolError)
}

func TestRetainedMessagesAreNotSentForSharedSubscriptions(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		pub.Retain(1, "T/a", "retained")
		c := n.Connect(v, "c", kind)
		for range 2 {
			c.Subscribe(1, sharedT)
			nothingFor(t, c)
		}
		if v == packet.V5 {
			c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: sharedT, QoS: 1, RetainAsPublished: true}}})
		}
		pub.Retain(1, "T/a", "live")
		p := c.ExpectPublish("T/a", "live")
		require.Equal(t, v == packet.V5, p.Retain)
		c.Ack(p)
	})
}

func TestASharedSubscriptionHasAnIdentifierOfItsOwn(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c")
	for i, f := range []string{sharedT, "T/a", "$share/h/T/+"} {
		c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: f, QoS: 1}},
			Properties: &packet.Properties{SubscriptionIdentifiers: []uint32{uint32(i + 1)}}})
	}
	n.Connect(packet.V5, "pub").Publish(1, "T/a", "x")
	ids := map[uint32]bool{}
	for range 3 {
		p := c.ExpectPublish("T/a", "x")
		require.Len(t, p.Properties.SubscriptionIdentifiers, 1, "a copy for each")
		ids[p.Properties.SubscriptionIdentifiers[0]] = true
		c.Ack(p)
	}
	require.Len(t, ids, 3)
	require.Empty(t, c.Ping())
}

// Proves 5.0: [MQTT-3.10.4-2] [MQTT-3.10.4-3]
func TestAMemberThatUnsubscribesCompletesWhatItHasAndGetsNoMore(t *testing.T) {
	eachSession(t, func(t *testing.T, n *mqtttest.Node, v packet.Version, kind mqtttest.Option) {
		pub := n.Connect(v, "pub")
		a, b := n.Connect(v, "a", kind), n.Connect(v, "b", kind)
		a.Subscribe(2, sharedT)
		pub.Publish(1, "T/a", "1")
		pub.Publish(2, "T/a", "2")
		p1, p2 := a.ExpectPublish("T/a", "1"), a.ExpectPublish("T/a", "2")
		b.Subscribe(2, sharedT)
		codes := a.Unsubscribe(sharedT, "T/#")
		if v == packet.V5 {
			require.Equal(t, []packet.Code{packet.Success, packet.NoSubscriptionExisted}, codes)
		}
		pub.Publish(1, "T/a", "3")
		b.Ack(b.ExpectPublish("T/a", "3"))
		a.Ack(p1)
		a.Ack(p2)
		nothingFor(t, a, b)
		a.Close()
		nothingFor(t, b)
	})
}

func TestAnExpiredMessageOfAGroupIsNotDelivered(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub, c := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(1, sharedT)
	c.Disconnect()
	for i, life := range []uint32{1, 600} {
		pub.PublishPacket(&packet.Publish{QoS: 1, Topic: "T/a", Payload: []byte(strconv.Itoa(i)),
			Properties: &packet.Properties{MessageExpiryInterval: &life}})
	}
	time.Sleep(1100 * time.Millisecond)
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	p := c.ExpectPublish("T/a", "1")
	require.InDelta(t, 600, *p.Properties.MessageExpiryInterval, 30)
	c.Ack(p)
	require.Empty(t, c.Ping())
}

// Proves 5.0: [MQTT-3.1.2-25]
func TestAGroupsMessageThatIsTooLargeForItsMemberIsDiscarded(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Props(func(p *packet.Properties) { p.MaximumPacketSize = new(uint32(200)) }))
	c.Subscribe(1, sharedT)
	pub.Publish(1, "T/a", strings.Repeat("x", 300))
	pub.Publish(1, "T/a", "small")
	c.Ack(c.ExpectPublish("T/a", "small"))
	c.Disconnect()
	d := n.Connect(packet.V5, "d")
	d.Subscribe(1, sharedT)
	nothingFor(t, d)
}

func TestTheRulesSeeFilterAndGroupOfASharedSubscription(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Allow: func(_ string, a auth.Action) bool {
		return a.Kind != auth.Subscribe || a.Topic == "T/#" && a.ShareGroup == "g"
	}}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules })
	c := n.Connect(packet.V5, "c")
	require.Equal(t, []packet.Code{1, packet.NotAuthorized, packet.NotAuthorized, packet.NotAuthorized},
		c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: sharedT, QoS: 1}, {Filter: "$share/h/T/#", QoS: 1},
			{Filter: "$share/g/T/a", QoS: 1}, {Filter: "T/#", QoS: 1}}}))
}
