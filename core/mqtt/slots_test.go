package mqtt_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/internal/testlog"
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

// taken returns how many connections count against mqtt.max_connections.
func taken(n *mqtttest.Node) int {
	used, _ := n.Server.Fill()
	return used
}

func TestOneUserLeavesConnectionsToOthers(t *testing.T) {
	for key, bounds := range map[string]mqtt.Bounds{
		"limits.identity.share":       {MaxConnections: 10, IdentityShare: 50},
		"limits.identity.connections": {MaxConnections: 20, IdentityConnections: 9},
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			log := &testlog.Buffer{}
			n := mqtttest.Start(t, func(c *mqtttest.Config) {
				c.MQTT.Bounds, c.Authority = bounds, &mqtttest.Rules{Name: "auth"}
				c.Log = slog.New(slog.NewTextHandler(log, nil))
			})
			greedy := make([]*mqtttest.Client, 9)
			for i := range greedy {
				greedy[i] = n.Connect(packet.V5, fmt.Sprint("greedy", i), as("greedy"))
			}
			for range 3 {
				require.Equal(t, packet.QuotaExceeded, n.Dial(packet.V5).TryConnect("greedy9", as("greedy")).Code)
				require.EqualValues(t, 3, n.Dial(packet.V311).TryConnect("greedy9", as("greedy")).Code)
			}
			n.Connect(packet.V311, "greedy1", as("greedy")) // replaces its own connection
			require.Equal(t, packet.SessionTakenOver, mqtttest.Expect[*packet.Disconnect](greedy[1]).Code)
			n.Connect(packet.V5, "a", as("honest"))
			require.Equal(t, 1, strings.Count(log.String(), "clients are refused: their identity has too many connections"))
			require.Contains(t, log.String(), "key="+key+" identity=greedy")
			greedy[0].Disconnect()
			mqtttest.Eventually(t, "one of the user has left", func() bool { return taken(n) == 9 })
			if key == "limits.identity.connections" {
				n.Connect(packet.V5, "greedy9", as("greedy"))
				return
			}
			n.Server.SetBounds(mqtt.Bounds{MaxConnections: 10, IdentityShare: 100})
			n.Connect(packet.V5, "greedy9", as("greedy"))
			require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("greedy10", as("greedy")).Code)
		})
	}
}

func TestAnAddressHasNoMoreClientsThanItMay(t *testing.T) {
	t.Parallel()
	log := &testlog.Buffer{}
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.MQTT.AddressConnections, c.MQTT.BoundLoopback = 2, true
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	a := n.Connect(packet.V5, "a")
	n.Connect(packet.V311, "b")
	require.Equal(t, packet.QuotaExceeded, n.Dial(packet.V5).TryConnect("c").Code)
	require.EqualValues(t, 3, n.Dial(packet.V311).TryConnect("c").Code)
	require.Equal(t, 1, strings.Count(log.String(), "clients are refused: their address has too many connections"))
	require.Contains(t, log.String(), "address=127.0.0.1/32")
	again := n.Connect(packet.V5, "a")
	require.Equal(t, packet.SessionTakenOver, mqtttest.Expect[*packet.Disconnect](a).Code)
	again.Disconnect()
	mqtttest.Eventually(t, "there is room", func() bool { return !n.Dial(packet.V5).TryConnect("c").Code.Failed() })
	n.Server.SetBounds(mqtt.Bounds{AddressConnections: 2})
	n.Connect(packet.V5, "d")
}

func TestTheServerTellsHowFullItIs(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	n.Connect(packet.V5, "a")
	n.Connect(packet.V5, "b")
	for name, c := range map[string]struct {
		bounds     mqtt.Bounds
		used, most int
	}{
		"no bound":               {mqtt.Bounds{}, 0, 0},
		"of max_connections":     {mqtt.Bounds{MaxConnections: 5}, 2, 5},
		"of files":               {mqtt.Bounds{Files: 7}, 2, 7},
		"of files, which is few": {mqtt.Bounds{MaxConnections: 5, Files: 4}, 2, 4},
		"of max_connections, which is fewer than files": {mqtt.Bounds{MaxConnections: 5, Files: 6}, 2, 5},
	} {
		n.Server.SetBounds(c.bounds)
		used, most := n.Server.Fill()
		require.Equal(t, []int{c.used, c.most}, []int{used, most}, name)
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
