package mqtt_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestAnAddressWhoseLoginsFailIsBannedAndConnectedClientsGoOn(t *testing.T) {
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
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = rules, bans, 3, true
	})
	inside := n.Connect(packet.V5, "inside", password("right"))
	for i := range 3 {
		require.Equal(t, packet.BadUserNameOrPassword, n.Dial(packet.V5).TryConnect(fmt.Sprint("a", i), password("wrong")).Code)
	}
	list := bans.List()
	require.Len(t, list, 1)
	require.Equal(t, limits.ByAddress, list[0].Kind)
	n.Dial(packet.V5).ExpectClosed()
	inside.Publish(1, "T/a", "m")
	require.True(t, bans.Remove(limits.ByAddress, netip.MustParsePrefix("127.0.0.1/32").String()))
	n.Connect(packet.V5, "a", password("right"))
}

func TestADeviceWhoseLoginsFailIsBannedAndOthersAtItsAddressAreNot(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Admit: func(r auth.Request) error {
		if r.Username == "bad" {
			return &auth.Denied{Reason: auth.BadCredentials}
		}
		return nil
	}}
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = rules, bans, 4, true
	})
	for range 4 {
		require.Equal(t, packet.BadUserNameOrPassword, n.Dial(packet.V5).TryConnect("c", ofUser("bad")).Code)
	}
	require.Equal(t, packet.Banned, n.Dial(packet.V5).TryConnect("c", ofUser("bad")).Code)
	n.Connect(packet.V5, "c", ofUser("good"))
	list := bans.List()
	require.Len(t, list, 1)
	require.Equal(t, limits.ByLogin, list[0].Kind)
	require.Equal(t, "bad/c@127.0.0.1/32", list[0].Name)
}

func TestALoginThatSucceedsForgivesNoFailuresOfOthers(t *testing.T) {
	t.Parallel()
	rules := &mqtttest.Rules{Admit: func(r auth.Request) error {
		if r.Username != "mine" {
			return &auth.Denied{Reason: auth.BadCredentials}
		}
		return nil
	}}
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = rules, bans, 5, true
	})
	for i := range 5 {
		n.Connect(packet.V5, "c", ofUser("mine"))
		require.Equal(t, packet.BadUserNameOrPassword, n.Dial(packet.V5).TryConnect("c", ofUser(fmt.Sprint("victim", i))).Code)
	}
	n.Dial(packet.V5).ExpectClosed()
}

func TestLoginsThatWaitTogetherAreRefusedOnceTheirAddressIsBanned(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	source := netip.MustParsePrefix("127.0.0.1/32").String()
	var asked atomic.Int32
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority = &mqtttest.Rules{Admit: func(auth.Request) error { asked.Add(1); return nil }}
		c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = bans, 50, true
	})
	for range 10 { // then the next attempt is delayed by four seconds
		bans.Failed(limits.ByAddress, source, 50, "passwords")
	}
	require.Positive(t, bans.Delay(limits.ByAddress, source))
	answers := make(chan packet.Code)
	for i := range 4 {
		c := n.Dial(packet.V5)
		go func() { answers <- c.TryConnect(fmt.Sprint("c", i)).Code }()
	}
	require.Eventually(t, func() bool { return n.Server.Unadmitted() == 4 }, mqtttest.Patience, time.Millisecond)
	require.True(t, bans.Add(limits.Ban{Kind: limits.ByAddress, Name: source, Until: time.Now().Add(time.Hour)}))
	for range 4 {
		require.Equal(t, packet.Banned, <-answers)
	}
	require.Zero(t, asked.Load())
}

func TestABannedClientIsClosedAndRefused(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Bans = bans })
	c, other := n.Connect(packet.V5, "c"), n.Connect(packet.V5, "other")
	ban := limits.Ban{Kind: limits.ByClient, Name: "c", Until: time.Now().Add(time.Hour)}
	require.True(t, bans.Add(ban))
	n.Server.CloseBanned(ban)
	c.ExpectDisconnect(packet.AdministrativeAction)
	require.Equal(t, packet.Banned, n.Dial(packet.V5).TryConnect("c").Code)
	require.Empty(t, other.Ping())
}

func TestABanOfAUserIsForItsIdentityWhateverItsConnectSays(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	n, _ := startRiddles(t, func(c *mqtttest.Config) { c.MQTT.Bans = bans })
	c := n.Connect(packet.V5, "c", by("RIDDLE", "dev"))
	named := n.Connect(packet.V5, "named", by("RIDDLE", "dev"), ofUser("somebody"))
	other := n.Connect(packet.V5, "other", by("RIDDLE", "another"))
	ban := limits.Ban{Kind: limits.ByUser, Name: "dev", Until: time.Now().Add(time.Hour)}
	require.True(t, bans.Add(ban))
	n.Server.CloseBanned(ban)
	c.ExpectDisconnect(packet.AdministrativeAction)
	named.ExpectDisconnect(packet.AdministrativeAction)
	require.Equal(t, packet.Banned, n.Dial(packet.V5).TryConnect("c", by("RIDDLE", "dev")).Code)
	require.Equal(t, packet.Banned, n.Dial(packet.V5).TryConnect("c", by("RIDDLE", "another"), ofUser("dev")).Code)
	require.Empty(t, other.Ping())
}

func TestFailuresOfClientsWithoutAUserNameDelayNoOthers(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	n, _ := startRiddles(t, func(c *mqtttest.Config) { c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = bans, 100, true })
	for i := range 10 {
		require.NotEqual(t, packet.Success, n.Dial(packet.V5).TryConnect(fmt.Sprint("c", i), by("RIDDLE", "wrong")).Code)
		bans.Remove(limits.ByAddress, "127.0.0.1/32") // as if each came from another address
	}
	require.Zero(t, bans.Delay(limits.ByUser, ""))
	require.Zero(t, bans.LoginDelay(limits.Login{Client: "other", Source: netip.MustParsePrefix("127.0.0.1/32")}))
}

func TestAClientThatHasToWaitDoesNotHoldALargeConnect(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Bans, c.MQTT.FailedLogins, c.MQTT.BoundLoopback = &mqtttest.Rules{Name: "rules"}, bans, 1000, true
	})
	for range 12 {
		bans.Failed(limits.ByAddress, "127.0.0.1/32", 1000, "")
	}
	require.Positive(t, bans.Delay(limits.ByAddress, "127.0.0.1/32"))
	large := func(cn *packet.Connect) { cn.HasPassword, cn.Password = true, make([]byte, 60_000) }
	require.Equal(t, packet.ServerBusy, n.Dial(packet.V5).TryConnect("large", large).Code)
	require.Equal(t, packet.Success, n.Dial(packet.V5).TryConnect("small").Code, "it waits, and is let in")
	bans.Remove(limits.ByAddress, "127.0.0.1/32")
	require.Equal(t, packet.Success, n.Dial(packet.V5).TryConnect("large", large).Code)
}

func TestAClientThatFlapsIsBannedForItsUserOnly(t *testing.T) {
	t.Parallel()
	bans := limits.NewBans()
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority, c.MQTT.Bans, c.MQTT.Flaps, c.MQTT.BoundLoopback = &mqtttest.Rules{Name: "rules"}, bans, 4, true
	})
	var last *mqtttest.Client
	for range 3 {
		n.Connect(packet.V5, "c", ofUser("u")).Disconnect()
	}
	last = n.Connect(packet.V5, "c", ofUser("u"))
	n.Connect(packet.V5, "c", ofUser("u")).Disconnect() // takes over the connection
	last.ExpectDisconnect(packet.SessionTakenOver)
	require.Eventually(t, func() bool { return len(bans.List()) == 1 }, mqtttest.Patience, time.Millisecond)
	require.Equal(t, limits.ByFlapping, bans.List()[0].Kind)
	require.Equal(t, packet.Banned, n.Dial(packet.V5).TryConnect("c", ofUser("u")).Code)
	n.Connect(packet.V5, "d", ofUser("u"))
	c := n.Connect(packet.V5, "c", ofUser("another"))
	require.True(t, bans.Remove(limits.ByFlapping, limits.FlappingName("u", "c", "127.0.0.1/32")))
	c.Disconnect()
	n.Connect(packet.V5, "c", ofUser("u"))
}

func TestAnAddressOpensConnectionsNoQuickerThanItMay(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Address.Connects, c.MQTT.BoundLoopback = 0.001, true })
	first := n.Connect(packet.V5, "first")
	n.Dial(packet.V5).ExpectClosed()
	require.Empty(t, first.Ping())
}

func TestAClientIsHeldToItsRates(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Client = mqtt.Rates{Messages: 50, Outbound: 4000} })
	c := n.Connect(packet.V5, "c")
	begun := time.Now()
	for range 110 { // the burst is 100
		c.Publish(1, "T/a", "m")
	}
	require.Greater(t, time.Since(begun), 150*time.Millisecond)
	sub := n.Connect(packet.V5, "sub")
	sub.Subscribe(0, "B/#")
	begun = time.Now()
	for range 7 {
		c.Publish(1, "B/a", string(make([]byte, 2000))) // the burst is 8,000 bytes
	}
	for range 7 {
		mqtttest.Expect[*packet.Publish](sub)
	}
	require.Greater(t, time.Since(begun), 700*time.Millisecond)
}
