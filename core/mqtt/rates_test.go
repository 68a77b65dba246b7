package mqtt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// ofUser returns a CONNECT option that sets the username. The rules of mqtttest use it as the client's identity.
func ofUser(name string) mqtttest.Option {
	return func(c *packet.Connect) { c.HasUsername, c.Username = true, name }
}

// scopesOfRates holds, for each scope that several clients share, a function that sets the scope's rates.
var scopesOfRates = map[string]func(*mqtt.Bounds, mqtt.Rates){
	"identity": func(b *mqtt.Bounds, r mqtt.Rates) { b.Identity = r },
	"address":  func(b *mqtt.Bounds, r mqtt.Rates) { b.Address = r },
	"listener": func(b *mqtt.Bounds, r mqtt.Rates) { b.Listener = r },
	"node":     func(b *mqtt.Bounds, r mqtt.Rates) { b.Node = r },
}

func TestClientsAreHeldToTheRatesThatTheyShare(t *testing.T) {
	t.Parallel()
	for scope, set := range scopesOfRates {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t, func(c *mqtttest.Config) {
				c.Authority, c.MQTT.BoundLoopback = &mqtttest.Rules{Name: "rules"}, true
				set(&c.MQTT.Bounds, mqtt.Rates{Messages: 20, Filters: 100, Outbound: 100_000})
			})
			a, b := n.Connect(packet.V5, "a", ofUser("u")), n.Connect(packet.V5, "b", ofUser("u"))
			begun := time.Now()
			for range 22 { // the burst is 40
				a.Publish(1, "T/a", "m")
				b.Publish(1, "T/a", "m")
			}
			require.Greater(t, time.Since(begun), 100*time.Millisecond)
			begun = time.Now()
			a.SubscribeTo(manyFilters("a", 0, 120, 0)) // the burst is 200 filters
			b.SubscribeTo(manyFilters("b", 0, 120, 0))
			b.Subscribe(0, "T/c")
			require.Greater(t, time.Since(begun), 200*time.Millisecond)
			n.Server.SetBounds(mqtt.Bounds{})
			require.Empty(t, a.Ping())
		})
	}
}

func TestWhatIsSentToClientsOfAnIdentityKeepsToItsRate(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Identity = &mqtttest.Rules{Name: "rules"}, mqtt.Rates{Outbound: 20_000}
	})
	subs := []*mqtttest.Client{n.Connect(packet.V5, "a", ofUser("u"), mqtttest.Keep), n.Connect(packet.V5, "b", ofUser("u"), mqtttest.Keep)}
	for _, s := range subs {
		s.Subscribe(1, "T/#")
		s.Close()
	}
	pub := n.Connect(packet.V5, "pub", ofUser("another"))
	for range 6 {
		pub.Publish(1, "T/a", string(make([]byte, 5000))) // a backlog of 60,000 bytes; the burst is 40,000
	}
	begun := time.Now()
	a, b := n.Connect(packet.V5, "a", ofUser("u"), mqtttest.Keep), n.Connect(packet.V5, "b", ofUser("u"), mqtttest.Keep)
	for range 6 {
		a.Ack(mqtttest.Expect[*packet.Publish](a))
		b.Ack(mqtttest.Expect[*packet.Publish](b))
	}
	require.Greater(t, time.Since(begun), 300*time.Millisecond)
}

func TestAClientThatConnectsAgainGetsNothingAnew(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Client = mqtt.Rates{Messages: 20} })
	begun := time.Now()
	for range 3 {
		c := n.Connect(packet.V5, "c")
		for range 15 {
			c.Publish(1, "T/a", "m")
		}
		c.Close()
	}
	require.Greater(t, time.Since(begun), 150*time.Millisecond)
}

func TestConnectionsOverARateWaitAndAreTakenAllTheSame(t *testing.T) {
	t.Parallel()
	all := map[string]func(*mqtt.Bounds, mqtt.Rates){
		"client":   func(b *mqtt.Bounds, r mqtt.Rates) { b.Client = r },
		"identity": scopesOfRates["identity"], "listener": scopesOfRates["listener"], "node": scopesOfRates["node"],
	}
	for scope, set := range all {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t, func(c *mqtttest.Config) {
				c.Authority = &mqtttest.Rules{Name: "rules"}
				set(&c.MQTT.Bounds, mqtt.Rates{Connects: 10})
			})
			begun := time.Now()
			for range 23 { // the burst is 20
				n.Connect(packet.V311, "c", ofUser("u")).Close()
			}
			require.Greater(t, time.Since(begun), 100*time.Millisecond)
		})
	}
}

func TestAnIdentityThatConnectsFarTooOftenIsRefusedAndOthersAreNot(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Identity = &mqtttest.Rules{Name: "rules"}, mqtt.Rates{Connects: 0.01}
	})
	n.Connect(packet.V5, "a", ofUser("u"))
	for i := range 3 {
		require.Equal(t, packet.ConnectionRateExceeded, n.Dial(packet.V5).TryConnect(fmt.Sprint("b", i), ofUser("u")).Code)
	}
	n.Connect(packet.V5, "c", ofUser("another"))
}
