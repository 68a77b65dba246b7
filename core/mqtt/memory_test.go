package mqtt_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// large is the payload size in these tests, in bytes.
const large = 256 << 10

func TestUserPropertiesCountAsWhatTheyTakeInMemory(t *testing.T) {
	t.Parallel()
	const properties, each = 1000, 64
	inbound := limits.NewBudget(3*properties*each, nil)
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Inbound, c.MQTT.StalledAfter = inbound, mqtttest.Patience })
	hold := make(chan struct{})
	n.Faults.JudgeAppends(func(context.Context, *store.Message) error { <-hold; return nil })
	flooder := n.Connect(packet.V5, "flooder")
	failed := make(chan error, 1)
	go func() {
		failed <- flood(flooder, 20, func(int) *packet.Publish {
			return &packet.Publish{Topic: "T/a", QoS: 1, Properties: &packet.Properties{User: make([]packet.UserProperty, properties)}}
		})
	}()
	mqtttest.Eventually(t, "messages of a few kilobytes fill the memory", func() bool { return inbound.Waiting() > 0 })
	require.LessOrEqual(t, inbound.Used(), int64(3*properties*each))
	close(hold)
	require.NoError(t, <-failed)
	mqtttest.Eventually(t, "all is stored and given back", func() bool { return n.Records("T") == 20 && inbound.Used() == 0 })
}

func TestAClientWhoseMessagesWaitForTheStoreIsNotReadFurther(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{0, 1} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			t.Parallel()
			inbound := limits.NewBudget(8*large, nil)
			n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Inbound, c.MQTT.ClientInbound = inbound, 3*large })
			hold := make(chan struct{})
			n.Faults.JudgeAppends(func(_ context.Context, m *store.Message) error {
				if len(m.Payload) > 100 {
					<-hold
				}
				return nil
			})
			const each = 20
			flooders := make([]*mqtttest.Client, 4)
			failed := make(chan error, len(flooders))
			for i := range flooders {
				flooders[i] = n.Connect(packet.V311, "flooder"+strconv.Itoa(i))
				go func() {
					failed <- flood(flooders[i], each, func(int) *packet.Publish {
						return &packet.Publish{Topic: "F/" + strconv.Itoa(i), QoS: qos, Payload: make([]byte, large)}
					})
				}()
			}
			mqtttest.Eventually(t, "the node is full", func() bool { return inbound.Waiting() > 0 && inbound.Used() > 6*large })
			require.LessOrEqual(t, inbound.Used(), int64(8*large))
			close(hold)
			for range flooders {
				require.NoError(t, <-failed)
			}
			honest := n.Connect(packet.V5, "honest")
			honest.Publish(1, "T/a", "m")
			mqtttest.Eventually(t, "all is stored and given back", func() bool { return n.Records("F") == int64(4*each) && inbound.Used() == 0 })
		})
	}
}

func TestAMessageThatDoesNotComeHoldsNoMemoryWhileOthersWait(t *testing.T) {
	t.Parallel()
	inbound := limits.NewBudget(large+large/2, nil)
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Inbound, c.MQTT.StalledAfter = inbound, 300*time.Millisecond })
	stalled := n.Connect(packet.V5, "stalled")
	b := stalled.Encode(nil, &packet.Publish{Topic: "T/a", Payload: make([]byte, large)})
	stalled.SendRaw(b[:len(b)/2]...)
	mqtttest.Eventually(t, "it holds memory", func() bool { return inbound.Used() > 0 })
	honest := n.Connect(packet.V5, "honest")
	honest.Publish(1, "T/b", string(make([]byte, large)))
	stalled.ExpectDisconnect(packet.QuotaExceeded)
	stalled.ExpectClosed()
}

func TestWhatASleepingClientDidNotAcknowledgeIsReadFromTheStoreAgain(t *testing.T) {
	t.Parallel()
	for _, qos := range []byte{1, 2} {
		for _, budget := range []string{"of the client", "of the node"} {
			t.Run(fmt.Sprintf("QoS %d, beyond the memory %s", qos, budget), func(t *testing.T) {
				t.Parallel()
				kept := limits.NewBudget(64*large, nil)
				n := mqtttest.Start(t, func(c *mqtttest.Config) {
					c.Session.Kept, c.Session.MaxKept = kept, 2*large
					if budget == "of the node" {
						kept = limits.NewBudget(2*large, nil)
						c.Session.Kept, c.Session.MaxKept = kept, 64*large
					}
				})
				c := n.Connect(packet.V5, "c", mqtttest.Keep)
				c.Subscribe(qos, "T/#")
				pub := n.Connect(packet.V5, "pub")
				const count = 10
				for i := range count {
					pub.Publish(qos, "T/a", string(numbered("m", i, large)))
				}
				for i := range count {
					m := mqtttest.Expect[*packet.Publish](c)
					require.True(t, bytes.HasPrefix(m.Payload, []byte("m "+strconv.Itoa(i)+" ")))
				}
				require.LessOrEqual(t, kept.Used(), int64(2*large))
				c.Close()
				mqtttest.Eventually(t, "nothing is kept", func() bool { return kept.Used() == 0 })
				c = n.Connect(packet.V5, "c", mqtttest.Keep, mqtttest.Resume)
				require.True(t, c.Connack.SessionPresent)
				again := make([]*packet.Publish, count)
				for i := range count {
					again[i] = mqtttest.Expect[*packet.Publish](c)
					require.True(t, bytes.HasPrefix(again[i].Payload, []byte("m "+strconv.Itoa(i)+" ")), "%d: %.10s", i, again[i].Payload)
				}
				for _, m := range again {
					c.Ack(m)
				}
				require.Empty(t, c.Ping())
				mqtttest.Eventually(t, "nothing is kept", func() bool { return kept.Used() == 0 })
			})
		}
	}
}

func TestRetainedMessagesOutliveThatTheRestIsGivenUpFromMemory(t *testing.T) {
	t.Parallel()
	kept := limits.NewBudget(64*large, nil)
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Session.Kept, c.Session.MaxKept = kept, large })
	pub := n.Connect(packet.V5, "pub")
	for i := range 4 {
		pub.Retain(1+byte(i%2), "R/"+strconv.Itoa(i), "r"+strconv.Itoa(i))
	}
	five := uint16(5)
	window := mqtttest.Props(func(p *packet.Properties) { p.ReceiveMaximum = &five })
	c := n.Connect(packet.V5, "c", mqtttest.Keep, window)
	c.Subscribe(2, "T/#")
	for i := range 3 {
		pub.Publish(1, "T/a", string(numbered("m", i, large)))
		mqtttest.Expect[*packet.Publish](c)
	}
	// Two retained messages fit the window. The client receives the first without answering, and answers the second with PUBREC. The others
	// wait.
	c.Subscribe(2, "R/0")
	underWay := c.ExpectPublish("R/0", "r0")
	c.Subscribe(2, "R/1")
	received := c.ExpectPublish("R/1", "r1")
	c.Subscribe(2, "R/2", "R/3")
	c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: received.PacketID})
	c.ExpectAck(packet.PUBREL, received.PacketID, packet.Success)
	c.Close()
	c = n.Connect(packet.V5, "c", mqtttest.Keep, mqtttest.Resume)
	require.True(t, c.Connack.SessionPresent)
	var got []string
	for len(got) < 7 {
		switch p := c.Next().(type) {
		case *packet.Ack:
			require.Equal(t, packet.PUBREL, p.Kind)
			c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
			if p.PacketID == received.PacketID {
				got = append(got, "PUBREL")
			}
		case *packet.Publish:
			what := string(p.Payload[:min(3, len(p.Payload))])
			if p.Dup {
				require.Equal(t, underWay.PacketID, p.PacketID)
				what += " again"
			}
			got = append(got, strings.TrimSpace(what))
			kind := packet.PUBACK
			if p.QoS == 2 {
				kind = packet.PUBREC
			}
			c.Send(&packet.Ack{Kind: kind, PacketID: p.PacketID})
		}
	}
	slices.Sort(got)
	require.Equal(t, []string{"PUBREL", "m 0", "m 1", "m 2", "r0 again", "r2", "r3"}, got)
	mqtttest.Eventually(t, "nothing is kept", func() bool { return kept.Used() == 0 })
}

func TestWhatAClientPublishesWhileItsSessionIsGivenUpFromMemoryIsStoredOnce(t *testing.T) {
	t.Parallel()
	kept := limits.NewBudget(64*large, nil)
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Session.Kept, c.Session.MaxKept = kept, large })
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(1, "T/in")
	pub := n.Connect(packet.V5, "pub")
	for i := range 3 {
		pub.Publish(1, "T/in", string(numbered("m", i, large)))
		mqtttest.Expect[*packet.Publish](c) // not acknowledged: it exceeds the memory that the session may keep
	}
	h := n.Faults.Hold("held")
	held := &packet.Publish{Topic: "T/out", QoS: 2, PacketID: 7, Payload: []byte("held")}
	c.Send(held)
	<-h.Reached
	c.Close()
	time.AfterFunc(300*time.Millisecond, func() { h.End(nil) }) // the store is slow, and the client reconnects earlier
	c = n.Connect(packet.V5, "c", mqtttest.Keep, mqtttest.Resume)
	require.True(t, c.Connack.SessionPresent)
	for range 3 {
		c.Ack(mqtttest.Expect[*packet.Publish](c))
	}
	held.Dup = true
	c.Send(held)
	c.ExpectAck(packet.PUBREC, 7, packet.Success)
	c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: 7})
	c.ExpectAck(packet.PUBCOMP, 7, packet.Success)
	require.Equal(t, int64(4), n.Records("T"))
}

func TestARetainedMessageWithoutRoomIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	n.Meta.SetRetainedMemory(large)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(0, "T/#")
	pub := n.Connect(packet.V5, "pub")
	pub.Send(&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1, Retain: true, Payload: numbered("m", 1, large)})
	pub.ExpectAck(packet.PUBACK, 1, packet.QuotaExceeded)
	pub.Retain(1, "T/b", "small")
	sub.ExpectPublish("T/b", "small") // but not the refused message
	later := n.Connect(packet.V5, "later")
	later.Subscribe(0, "T/#")
	later.ExpectPublish("T/b", "small")
	require.Empty(t, later.Ping())
}

func TestARetainedMessageWithoutRoomIsNotStoredEachTimeThatAClientWhoCannotBeToldSendsIt(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	n.Meta.SetRetainedMemory(large)
	sub := n.Connect(packet.V311, "sub")
	sub.Subscribe(1, "T/#")
	for i := range 3 {
		pub := n.Connect(packet.V311, "pub")
		pub.Send(&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1, Retain: true, Dup: i > 0, Payload: numbered("m", 1, large)})
		pub.ExpectClosed()
	}
	n.Connect(packet.V311, "pub").Publish(1, "T/b", "after")
	sub.ExpectPublish("T/b", "after")
}

func TestSubscribersThatDoNotReadCostBoundedMemoryAndHoldUpNobodyForLong(t *testing.T) {
	t.Parallel()
	const subscribers = 6
	outbound := limits.NewBudget(4*large, nil)
	// Long enough for the honest subscriber to read something in that time on a busy machine.
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Outbound, c.MQTT.StalledAfter = outbound, 5*time.Second })
	for i := range subscribers {
		n.DialSlow(packet.V311).Connect("slow"+strconv.Itoa(i)).Subscribe(0, "T/#")
	}
	honest := n.Connect(packet.V5, "honest")
	honest.Subscribe(1, "T/#")
	pub := n.Connect(packet.V5, "pub")
	const count = 40
	go func() { // the kernel buffers the first messages even if nobody reads
		for i := range count {
			_ = pub.TrySendRaw(pub.Encode(nil, &packet.Publish{Topic: "T/a", QoS: 1, PacketID: uint16(i + 1), Payload: numbered("m", i, large)})...)
		}
	}()
	for i := range count {
		p, err := honest.Receive(mqtttest.Patience)
		require.NoError(t, err)
		m, ok := p.(*packet.Publish)
		require.True(t, ok)
		require.True(t, bytes.HasPrefix(m.Payload, []byte("m "+strconv.Itoa(i)+" ")))
		honest.Ack(m)
		// Several pumps may have checked the budget at the same moment.
		require.LessOrEqual(t, outbound.Used(), int64(4*large+4*(large+64<<10)))
	}
}

func TestClientsAreRefusedWhileTheProcessIsShortOfMemory(t *testing.T) {
	t.Parallel()
	w := limits.NewWatermark(1) // the process always uses more than 1 byte
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Watermark = w })
	before := n.Connect(packet.V5, "before")
	_, changed := w.Look()
	require.True(t, changed)
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("new").Code)
	require.NotEqual(t, packet.Success, n.Dial(packet.V311).TryConnect("new").Code)
	before.Publish(1, "T/a", "m")
}
