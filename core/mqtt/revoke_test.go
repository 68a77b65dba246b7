package mqtt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func user(name string) mqtttest.Option {
	return func(cn *packet.Connect) { cn.HasUsername, cn.Username = true, name }
}

func TestARevocationClosesTheConnectionsThatItIsAboutAndNoOthers(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	for _, v := range versions {
		for name, r := range map[string]auth.Revocation{
			"by client id": {ClientID: "hit"}, "by user": {Username: "u"}, "by identity": {Identity: "u"},
			"by both": {ClientID: "hit", Username: "u"},
		} {
			hit, other := n.Connect(v, "hit", user("u")), n.Connect(v, "other", user("v"))
			n.Server.Revoke(auth.Revocation{ClientID: "hit", Username: "somebody else"})
			require.Empty(t, hit.Ping(), name)
			n.Server.Revoke(r)
			if v == packet.V5 {
				hit.ExpectDisconnect(packet.AdministrativeAction)
			}
			hit.ExpectClosed()
			require.Empty(t, other.Ping(), name)
			n.Connect(v, "hit", user("u")).Disconnect() // a revocation applies only to clients that were admitted before it
		}
	}
	all := n.Connect(packet.V5, "anybody")
	n.Server.Revoke(auth.Revocation{})
	all.ExpectDisconnect(packet.AdministrativeAction)
}

func TestAClientThatIsRevokedWhileItIsBeingAdmittedIsRefused(t *testing.T) {
	t.Parallel()
	var n *mqtttest.Node
	revoke := func(auth.Request) error { return nil }
	rules := &mqtttest.Rules{Admit: func(r auth.Request) error { return revoke(r) }}
	n = mqtttest.Start(t, func(c *mqtttest.Config) { c.Authority = rules })
	require.Equal(t, packet.Success, n.Dial(packet.V5).TryConnect("c").Code)
	for name, times := range map[string]int{"once": 1, "more often than is remembered": 100} {
		revoke = func(auth.Request) error { // the plugin has decided, and revokes before its answer arrives
			for i := range times {
				r := auth.Revocation{ClientID: "c"}
				if i > 0 {
					r.ClientID = "somebody else"
				}
				n.Server.Revoke(r)
			}
			return nil
		}
		require.Equal(t, packet.NotAuthorized, n.Dial(packet.V5).TryConnect("c").Code, name)
	}
	revoke = func(auth.Request) error { n.Server.Revoke(auth.Revocation{ClientID: "d"}); return nil }
	require.Equal(t, packet.Success, n.Dial(packet.V5).TryConnect("c").Code)
}

func TestAnAdmissionThatExpiresClosesTheConnection(t *testing.T) {
	t.Parallel()
	n, r := startRiddles(t)
	r.mu.Lock()
	r.expires = 2 * time.Second
	r.mu.Unlock()
	c := n.Connect(packet.V5, "c", by("RIDDLE", "alice"))
	c.ExpectDisconnect(packet.MaximumConnectTime)
	c.ExpectClosed()
}
