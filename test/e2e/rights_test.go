package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// The second user's rules, before and after somebody has changed them.
var (
	rightsBefore = []settings{{"effect": "allow", "action": "all", "topic": "#"}}
	rightsAfter  = []settings{{"effect": "allow", "action": "subscribe", "topic": "open/#"}}
)

// usersWith returns the users of auth-hmac or auth-file; with nil rules the second user is removed.
func usersWith(t *testing.T, plugin string, rules []settings, more settings) []settings {
	t.Helper()
	hashed := func(u string) settings {
		if plugin == "auth-hmac" {
			return settings{"username": u, "secret_key": secretOf(u)}
		}
		text, err := bcrypt.GenerateFromPassword([]byte(secretOf(u)), bcrypt.MinCost)
		require.NoError(t, err)
		return settings{"username": u, "password_hash": string(text)}
	}
	out := []settings{hashed(user)}
	if rules != nil {
		ruled := hashed(ruledUser)
		ruled["rules"] = rules
		maps.Copy(ruled, more)
		out = append(out, ruled)
	}
	return out
}

// writeUsers replaces auth-file's users file; existing users keep their password hashes.
func (g *Gateway) writeUsers(change func(users []settings) []settings) {
	g.t.Helper()
	path := filepath.Join(g.dir, "users.yaml")
	text, err := os.ReadFile(path)
	require.NoError(g.t, err)
	var file struct {
		Users []settings `json:"users"`
	}
	require.NoError(g.t, json.Unmarshal(text, &file))
	file.Users = change(file.Users)
	text, err = json.Marshal(settings{"users": file.Users})
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(g.t, os.Rename(path+".new", path))
}

func TestRightsThatAreTakenAwayEndWhatWasBegunUnderThem(t *testing.T) {
	t.Parallel()
	type way struct {
		plugin string
		take   func(t *testing.T, g *Gateway)
	}
	for name, w := range map[string]way{
		"the file changed": {"auth-file", func(_ *testing.T, g *Gateway) {
			g.writeUsers(func(users []settings) []settings { users[1]["rules"] = rightsAfter; return users })
		}},
		"a reload with other rules": {"auth-hmac", func(t *testing.T, g *Gateway) {
			g.edit(func(s settings) {
				s["auth"] = settings{"plugin": "auth-hmac", "config": settings{"users": usersWith(t, "auth-hmac", rightsAfter, nil)}}
			})
			require.Contains(t, g.reload().OK(), "swapped")
		}},
		"another plugin": {"auth-hmac", func(t *testing.T, g *Gateway) {
			text, err := json.Marshal(settings{"users": usersWith(t, "auth-file", rightsAfter, nil)})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(g.dir, "users.yaml"), text, 0o600))
			g.edit(func(s settings) {
				s["auth"] = settings{"plugin": "auth-file", "config": settings{"file": "users.yaml"}}
			})
			require.Contains(t, g.reload().OK(), "auth-file in place of auth-hmac")
			scheme := *fileScheme
			g.auth = &scheme
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := localProfile
			scheme := *hmacScheme
			if w.plugin == "auth-file" {
				scheme = *fileScheme
			}
			scheme.config = func(t *testing.T, dir string) settings {
				t.Helper()
				users := settings{"users": usersWith(t, w.plugin, rightsBefore, nil)}
				if w.plugin == "auth-hmac" {
					return users
				}
				text, err := json.Marshal(users)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "users.yaml"), text, 0o600))
				return settings{"file": "users.yaml", "reload_interval": "200ms"}
			}
			p.auth = &scheme
			takenAway(t, start(t, p), w.take)
		})
	}
}

// takenAway is the scenario: everything that a client of the second user can have in progress when its rights are withdrawn.
func takenAway(t *testing.T, g *Gateway, take func(t *testing.T, g *Gateway)) {
	t.Helper()
	pub, watch := g.connect(t, "pub"), g.connect(t, "watch")
	watch.subscribe("status/#", 1)
	as := func(id string) option { return g.theOther(t, id) }
	filters := []string{"secret/#", "open/#"}
	both := func(subscribe func(string)) {
		for _, f := range filters {
			subscribe(f)
		}
	}
	live := g.connect(t, "live", as("live"))
	both(func(f string) { live.subscribe(f, 1) })
	live5 := g.connect5(t, "live5", g.theOther5(t, "live5"))
	both(func(f string) { live5.subscribe(paho.SubscribeOptions{Topic: f, QoS: 1}) })
	shared := g.connect5(t, "shared", g.theOther5(t, "shared"))
	shared.subscribe(paho.SubscribeOptions{Topic: "$share/g/secret/#", QoS: 1})
	for _, id := range []string{"asleep", "asleep5"} {
		c := g.connect(t, id, as(id), persistent)
		both(func(f string) { c.subscribe(f, 1) })
		c.leave()
	}
	var cut net.Conn
	g.connect(t, "willed", as("willed"), func(o *clientOptions) {
		o.SetWill("status/willed", "offline", 1, false)
		o.SetCustomOpenConnectionFn(func(*url.URL, clientOptions) (net.Conn, error) {
			var err error
			cut, err = net.Dial("tcp", g.TCP)
			return cut, err
		})
	})
	delayed := g.connect5(t, "delayed", g.theOther5(t, "delayed"), keep5, func(_ *paho.ClientConfig, c *paho.Connect) {
		c.WillMessage = &paho.WillMessage{Topic: "status/delayed", Payload: []byte("offline"), QoS: 1}
		c.WillProperties = &paho.WillProperties{WillDelayInterval: new(uint32(3600))}
	})
	delayed.cut()
	pub.publish("secret/a", 1, "allowed")
	live.await(1)
	live5.await(1)
	pub.publish("open/a", 1, "allowed")
	live.await(2)
	live5.await(1)
	live.forget()
	shared.await(1)

	take(t, g)
	eventually(t, patience, func() error {
		for _, id := range []string{"live", "live5", "shared"} {
			if log := g.Log(); !strings.Contains(log, "subscriptions ended") || !strings.Contains(log, "client="+id+" count=1") {
				return fmt.Errorf("the subscription of %q has not ended", id)
			}
		}
		return nil
	})
	pub.publish("secret/a", 1, "not allowed")
	pub.publish("open/a", 1, "last")
	require.Equal(t, []string{"last"}, texts(live.await(1)))
	require.Equal(t, "last", string(live5.await(1)[0].Payload))
	require.Empty(t, shared.received())

	asleep := g.connect(t, "asleep", as("asleep"), persistent)
	require.True(t, asleep.present)
	require.Equal(t, []string{"allowed", "last"}, texts(asleep.await(2)), "what was queued before as well")
	asleep5 := g.connect5(t, "asleep5", g.theOther5(t, "asleep5"), keep5)
	require.True(t, asleep5.connack.SessionPresent)
	require.Equal(t, []string{"allowed", "last"}, payloads5(asleep5.await(2)))

	_ = cut.Close()
	g.operate("sessions", "end", "delayed").OK() // its will is due with the end of its session
	eventually(t, patience, func() error {
		for _, id := range []string{"willed", "delayed"} {
			if !strings.Contains(g.Log(), "its client may not publish it any more\" client="+id) {
				return fmt.Errorf("the will of %q was not judged", id)
			}
		}
		return nil
	})
	watch.only(pub, "status/end")
}

func TestADisabledOrRemovedUserLeavesNoWill(t *testing.T) {
	t.Parallel()
	p := localProfile
	scheme := *fileScheme
	scheme.config = func(t *testing.T, dir string) settings {
		t.Helper()
		text, err := json.Marshal(settings{"users": usersWith(t, "auth-file", rightsBefore, nil)})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "users.yaml"), text, 0o600))
		return settings{"file": "users.yaml", "reload_interval": "200ms"}
	}
	p.auth = &scheme
	g := start(t, p)
	pub, watch := g.connect(t, "pub"), g.connect(t, "watch")
	watch.subscribe("status/#", 1)
	willing := func(id string, seconds uint32) *client5 {
		return g.connect5(t, id, g.theOther5(t, id), keep5, func(_ *paho.ClientConfig, c *paho.Connect) {
			c.WillMessage = &paho.WillMessage{Topic: "status/" + id, Payload: []byte("offline"), QoS: 1}
			c.WillProperties = &paho.WillProperties{WillDelayInterval: &seconds}
		})
	}
	judged := func(ids ...string) {
		t.Helper()
		eventually(t, patience, func() error {
			for _, id := range ids {
				if !strings.Contains(g.Log(), "its client may not publish it any more\" client="+id) {
					return fmt.Errorf("the will of %q was not judged", id)
				}
			}
			return nil
		})
	}
	kicked := willing("kicked", 0)
	old := g.connect(t, "old", g.theOther(t, "old"), func(o *clientOptions) { o.SetWill("status/old", "offline", 1, true) })
	g.writeUsers(func(users []settings) []settings { users[1]["disabled"] = true; return users })
	d := <-kicked.lost
	require.EqualValues(t, 0x98, d.ReasonCode)
	<-old.lost
	judged("kicked", "old")

	g.writeUsers(func(users []settings) []settings { users[1]["disabled"] = false; return users })
	eventually(t, patience, func() error {
		c, err := g.tryConnect(t, "again", g.theOther(t, "again"))
		if err == nil {
			c.Disconnect(0)
		}
		return err
	})
	willing("delayed", 3600).cut()
	restarted := willing("restarted", 0)
	g.writeUsers(func(users []settings) []settings { return slices.Delete(users, 1, 2) })
	<-restarted.lost
	g.operate("sessions", "end", "delayed").OK() // its will is due with the end of its session
	judged("delayed", "restarted")
	watch.only(pub, "status/end")
}

// cut ends a connection without DISCONNECT.
func (c *client5) cut() { _ = c.conn.Close() }

// received returns the messages that were received but not awaited.
func (c *client5) received() []*paho.Publish {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func payloads5(list []*paho.Publish) []string {
	var out []string
	for _, p := range list {
		out = append(out, string(p.Payload))
	}
	return out
}
