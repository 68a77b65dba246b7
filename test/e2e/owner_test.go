package e2e

import (
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
)

// theOther makes a client log in as the second user.
func (g *Gateway) theOther(t *testing.T, id string) option {
	return func(o *clientOptions) { o.SetUsername(ruledUser).SetPassword(g.auth.password(t, ruledUser, id)) }
}

func (g *Gateway) theOther5(t *testing.T, id string) option5 {
	return func(_ *paho.ClientConfig, c *paho.Connect) {
		c.Username, c.Password = ruledUser, []byte(g.auth.password(t, ruledUser, id))
	}
}

func TestASessionAndAConnectionBelongToTheUserWhoMadeThem(t *testing.T) {
	t.Parallel()
	for _, scheme := range []*authScheme{hmacScheme, fileScheme, jwtScheme} {
		t.Run(scheme.plugin, func(t *testing.T) {
			t.Parallel()
			p := localProfile
			p.auth = scheme
			g := start(t, p)
			id, topic := g.Name("shared-id"), g.Topic("secret")
			refused := func() {
				t.Helper()
				_, err := g.tryConnect(t, id, g.theOther(t, id), persistent)
				require.ErrorContains(t, err, "identifier rejected") // 0x02
				_, err = g.tryConnect(t, id, g.theOther(t, id))
				require.ErrorContains(t, err, "identifier rejected", "with a clean session")
				for _, more := range [][]option5{{keep5}, nil} {
					c, err := g.tryConnect5(t, id, append(more, g.theOther5(t, id))...)
					require.Error(t, err)
					require.EqualValues(t, 0x85, c.connack.ReasonCode)
				}
			}
			ops := g.connect(t, id, persistent)
			ops.subscribe(topic+"/#", 1)
			refused()
			pub := g.connect(t, g.Name("pub"))
			pub.publish(topic+"/a", 1, "live")
			require.Equal(t, []string{"live"}, texts(ops.await(1)), "the connection is still the first user's")
			ops.leave()
			pub.publish(topic+"/a", 1, "stored")
			refused()
			g.Restart()
			refused()
			require.Contains(t, g.Log(), "its client id has a session of another identity")
			line := g.Log()[strings.LastIndex(g.Log(), "its client id has a session of another identity"):]
			require.Contains(t, line, "identity="+ruledUser)
			require.Contains(t, line, "owner="+user)

			ops = g.connect(t, id, persistent)
			require.True(t, ops.present)
			require.Equal(t, []string{"stored"}, texts(ops.await(1)))
			ops.leave()
			require.Empty(t, g.CLI("sessions", "end", id, "--config", g.config(), "--admin", "http://"+g.Admin).OK())
			other := g.connect(t, id, g.theOther(t, id), persistent)
			require.False(t, other.present, "an operator has ended the session")
		})
	}
}

func TestWithOwnersByClientIDWhoeverHasTheClientIDHasTheSession(t *testing.T) {
	t.Parallel()
	g := start(t, localProfile, settings{"mqtt": settings{"session_owner": "client_id"}})
	id := g.Name("renamed")
	g.connect(t, id, persistent).leave()
	require.True(t, g.connect(t, id, g.theOther(t, id), persistent).present)
}
