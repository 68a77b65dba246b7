package mqtt_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// A half-open connection is one whose client has gone without a DISCONNECT. The server cannot tell it from a silent connection.
func TestAClientGetsInAtTheLimitByTakingOverItsOwnConnection(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for name, kind := range map[string]mqtttest.Option{"clean": func(*packet.Connect) {}, "persistent": mqtttest.Keep} {
			t.Run(fmt.Sprintf("%s %s", v, name), func(t *testing.T) {
				t.Parallel()
				n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections = 2 })
				n.Connect(v, "other", kind)
				old := n.Connect(v, "a", kind)
				for range 5 {
					next := n.Connect(v, "a", kind)
					if v == packet.V5 {
						require.Equal(t, packet.SessionTakenOver, mqtttest.Expect[*packet.Disconnect](old).Code)
					}
					old.ExpectClosed()
					require.Empty(t, next.Ping())
					require.NotEqual(t, packet.Success, n.Dial(v).TryConnect("stranger", kind).Code, "the limit holds")
					old = next
				}
				old.Disconnect()
				mqtttest.Eventually(t, "the slot is free", func() bool { return n.Dial(v).TryConnect("stranger", kind).Code == packet.Success })
			})
		}
	}
}

func TestAStrangerLearnsNothingOfTheLimitAndTakesNoSlot(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Admit: func(r auth.Request) error {
		if string(r.Password) != "right" {
			return &auth.Denied{Reason: auth.BadCredentials}
		}
		return nil
	}}
	password := func(text string) mqtttest.Option {
		return func(cn *packet.Connect) { cn.HasPassword, cn.Password = true, []byte(text) }
	}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections, c.Authority = 1, rules })
	a := n.Connect(packet.V5, "a", password("right"))
	for _, id := range []string{"a", "b"} {
		require.Equal(t, packet.BadUserNameOrPassword, n.Dial(packet.V5).TryConnect(id, password("wrong")).Code, "client id %q", id)
	}
	require.Empty(t, a.Ping())
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("b", password("right")).Code)
}

// An unknown client that is in the middle of an authentication exchange holds no slot.
func TestExchangesThatAreUnderWayHoldNoSlot(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Exchange: func(auth.Request, string, bool) (auth.Exchange, error) { return endless{}, nil }}
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections, c.Authority = 2, rules })
	method := mqtttest.Props(func(p *packet.Properties) { p.AuthenticationMethod = new("M") })
	for i := range 6 {
		c := n.Dial(packet.V5)
		cn := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: fmt.Sprint("exchange", i)}
		method(cn)
		c.Send(cn)
		require.Equal(t, packet.ContinueAuthentication, mqtttest.Expect[*packet.Auth](c).Code)
	}
	n.Connect(packet.V5, "a")
	n.Connect(packet.V5, "b")
}

// endless is an authentication exchange that never finishes.
type endless struct{}

func (endless) Step(context.Context, []byte) (auth.Answer, error) { return auth.Answer{}, nil }
func (endless) Abandon()                                          {}

func TestATakeoverThatFailsGivesTheSlotBack(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.MaxConnections = 1 })
	for range 3 {
		a := n.Connect(packet.V5, "a", mqtttest.Keep)
		n.RefuseMetadata(true)
		require.Equal(t, packet.ServerUnavailable, n.Dial(packet.V5).TryConnect("a", mqtttest.Keep).Code)
		n.RefuseMetadata(false)
		a.Close()
	}
	mqtttest.Eventually(t, "a client gets in", func() bool { return !n.Dial(packet.V5).TryConnect("b").Code.Failed() })
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("c").Code)
}

// as makes a client log in as a user.
func as(user string) mqtttest.Option {
	return func(cn *packet.Connect) { cn.HasUsername, cn.Username = true, user }
}

func TestConnectsThatAreRefusedTakeNoSlotFromTheClientThatTheyWantToReplace(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string][]int{"in turn": {0, 1, 2}, "the last one first": {2, 1, 0}, "the middle one first": {1, 2, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t, func(c *mqtttest.Config) {
				c.MQTT.MaxConnections, c.Authority = 1, &mqtttest.Rules{Name: "auth"}
			})
			victim := n.Connect(packet.V5, "a", as("victim"))
			var others []*mqtttest.Client
			for range leaves {
				c := n.Dial(packet.V5)
				require.Equal(t, packet.ClientIdentifierNotValid, c.TryConnect("a", as("other")).Code)
				others = append(others, c) // stays until it is closed here, or the server gives up waiting
			}
			for i, who := range leaves {
				others[who].Close()
				mqtttest.Eventually(t, "a refused connection has left", func() bool { return n.Server.Connections() <= len(leaves)-i })
				b := n.Dial(packet.V5)
				require.Equal(t, packet.ServerBusy, b.TryConnect("b", as("other")).Code)
				b.Close()
				mqtttest.Eventually(t, "that of b has left", func() bool { return n.Server.Connections() <= len(leaves)-i })
			}
			require.Empty(t, victim.Ping())
			victim.Disconnect()
			mqtttest.Eventually(t, "the slot is free", func() bool { return !n.Dial(packet.V5).TryConnect("b", as("other")).Code.Failed() })
		})
	}
}

func TestRepeatsOfAnOpenQoS2MessageDoNotCountTowardsTheReceiveMaximum(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.ReceiveMaximum = 2 })
	c := n.Connect(packet.V5, "c")
	send := func(id uint16, dup bool) {
		c.Send(&packet.Publish{QoS: 2, PacketID: id, Topic: "T/a", Payload: []byte("x"), Dup: dup})
	}
	answer := func(kind packet.Type, id uint16) {
		a := mqtttest.Expect[*packet.Ack](c)
		require.Equal(t, kind, a.Kind)
		require.Equal(t, id, a.PacketID)
		require.Equal(t, packet.Success, a.Code)
	}
	for round := range 3 {
		for i := range 10 {
			send(1, i > 0)
			answer(packet.PUBREC, 1)
		}
		send(2, false)
		answer(packet.PUBREC, 2)
		send(2, true)
		answer(packet.PUBREC, 2)
		for id := uint16(1); id <= 2; id++ {
			c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: id})
			answer(packet.PUBCOMP, id)
		}
		require.Empty(t, c.Ping(), "round %d", round)
	}
	for id := uint16(1); id <= 3; id++ {
		send(id, false)
	}
	for {
		p, err := c.Receive(mqtttest.Patience)
		require.NoError(t, err)
		if d, ok := p.(*packet.Disconnect); ok {
			require.Equal(t, packet.ReceiveMaximumExceeded, d.Code)
			return
		}
	}
}
