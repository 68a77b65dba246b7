package mqtt_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// firsts returns the first-level topics that are registered, and checks that the store has them and no others.
func firsts(t *testing.T, n *mqtttest.Node) []string {
	t.Helper()
	all, err := n.Faults.Topics(context.Background())
	require.NoError(t, err)
	names := make([]string, 0, len(all))
	for _, info := range all {
		names = append(names, info.Name)
	}
	require.Equal(t, n.Meta.Topics(), names)
	return names
}

func TestAMessageThatMayNotBeRetainedLeavesNoFirstLevelTopicBehind(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V5, "c", mqtttest.Expiry(3600))
	c.Publish(1, "T/a", "m")
	n.Meta.SetRetainedMemory(1)
	c.Send(&packet.Publish{Topic: "new1/x", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("m")})
	c.ExpectAck(packet.PUBACK, 1, packet.QuotaExceeded)
	c.Send(&packet.Publish{Topic: "new2/x", QoS: 2, PacketID: 2, Retain: true, Payload: []byte("m")})
	c.ExpectAck(packet.PUBREC, 2, packet.QuotaExceeded)
	c.Send(&packet.Publish{Topic: "new3/x", Retain: true, Payload: []byte("m")})
	c.Send(&packet.Publish{Topic: "$SYS/broker/x", QoS: 1, PacketID: 3, Retain: true, Payload: []byte("m")})
	c.ExpectAck(packet.PUBACK, 3, packet.TopicNameInvalid)
	old := n.Connect(packet.V311, "old", mqtttest.Keep)
	old.Send(&packet.Publish{Topic: "new4/x", QoS: 2, PacketID: 1, Retain: true, Payload: []byte("m")})
	old.ExpectClosed()
	c.Publish(1, "T/b", "m")
	require.Equal(t, []string{"T"}, firsts(t, n))
}

func TestWhatTheRulesForbidMakesNoFirstLevelTopic(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, deny)
	for _, v := range versions {
		c := n.Connect(v, "c", mqtttest.Keep)
		for _, code := range c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "no1/a", QoS: 1}, {Filter: "$share/g/no2/a"}}}) {
			require.True(t, code.Failed())
		}
		c.Publish(1, "T/a", "m")
		for qos := byte(0); qos <= 2; qos++ {
			p := &packet.Publish{Topic: "no3/b", QoS: qos, Payload: []byte("x")}
			if qos > 0 {
				p.PacketID = 9
			}
			c.Send(p)
			if v != packet.V5 {
				c.ExpectClosed()
				c = n.Connect(v, "c", mqtttest.Keep)
			}
		}
		will := n.Dial(v)
		will.TryConnect("w", mqtttest.Will(packet.Will{Topic: "no4/w"}))
		c.Ping()
	}
	require.Equal(t, []string{"T"}, firsts(t, n))
}

func TestAClientThatMakesUpFirstLevelTopicsHasABoundedNumberOfThem(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = &mqtttest.Rules{Name: "rules"} })
	n.Meta.SetQuotas(meta.Quotas{Topics: 20})
	user := func(name string) mqtttest.Option {
		return func(cn *packet.Connect) { cn.HasUsername, cn.Username = true, name }
	}
	c := n.Connect(packet.V5, "c", user("u"))
	c.Publish(1, "a/x", "m")
	c.Subscribe(1, "b/#")
	for qos := byte(1); qos <= 2; qos++ {
		c.Send(&packet.Publish{Topic: "c/x", QoS: qos, PacketID: uint16(qos), Payload: []byte("m")})
		c.ExpectAck(map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC}[qos], uint16(qos), packet.QuotaExceeded)
	}
	require.Equal(t, []packet.Code{packet.QuotaExceeded, 1}, c.SubscribeTo(&packet.Subscribe{
		Filters: []packet.Subscription{{Filter: "c/#", QoS: 1}, {Filter: "a/#", QoS: 1}}}))
	c.Send(&packet.Publish{Topic: "c/x", Payload: []byte("m")})
	c.Publish(1, "a/y", "it goes on")

	old := n.Connect(packet.V311, "old", user("v"))
	old.Publish(1, "d/x", "m")
	old.Subscribe(1, "e/#")
	require.Equal(t, []packet.Code{0x80}, old.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "c/#", QoS: 1}}}))
	old.Send(&packet.Publish{Topic: "c/x", QoS: 1, PacketID: 1, Payload: []byte("m")})
	old.ExpectClosed()

	gone := n.Connect(packet.V5, "c2", user("u"), mqtttest.Will(packet.Will{Topic: "f/w", Payload: []byte("will")}))
	gone.Publish(1, "g/x", "m")
	gone.Publish(1, "h/x", "m")
	gone.Close()
	mqtttest.Eventually(t, "the will is given up", func() bool { w, err := n.Meta.LoadWill(context.Background(), "c2"); return err == nil && w == nil })
	require.Equal(t, []string{"a", "b", "d", "e", "g", "h"}, firsts(t, n))
	for _, name := range []string{"i", "j", "k", "l", "m", "n"} { // up to its identity's half
		n.Connect(packet.V5, "more-"+name, user("u")).Publish(1, name+"/x", "m")
	}
	last := n.Connect(packet.V5, "last", user("u"))
	last.Send(&packet.Publish{Topic: "o/x", QoS: 1, PacketID: 1, Payload: []byte("m")})
	last.ExpectAck(packet.PUBACK, 1, packet.QuotaExceeded)
}
