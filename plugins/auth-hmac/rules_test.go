package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// parse reads rules as "allow publish a/b; deny all c/#".
func parse(t testing.TB, text string) []rule {
	t.Helper()
	var rules []rule
	for part := range strings.SplitSeq(text, ";") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		var r rule
		require.Len(t, f, 3, part)
		require.NoError(t, r.Effect.UnmarshalText([]byte(f[0])))
		require.NoError(t, r.Action.UnmarshalText([]byte(f[1])))
		r.Topic = f[2]
		rules = append(rules, r)
	}
	return rules
}

func TestRulesDecideByTheFirstMatch(t *testing.T) {
	me := client{id: "dev1", username: "demo"}
	cases := []struct {
		rules string
		kind  action
		topic string
		want  bool
	}{
		{"", publish, "anything", true},
		{"", subscribe, "#", true},
		{"allow all a/#", publish, "a/b", true},
		{"allow all a/#", publish, "b", false},
		{"allow publish a/#", subscribe, "a/#", false},
		{"allow subscribe a/#", publish, "a/b", false},
		{"deny publish a/x; allow all a/#", publish, "a/x", false},
		{"deny publish a/x; allow all a/#", publish, "a/y", true},
		{"allow all a/#; deny publish a/x", publish, "a/x", true},
		// A subscription is a set of topics: an allow must cover all of it, a deny needs to touch it only.
		{"allow subscribe a/+", subscribe, "a/#", false},
		{"allow subscribe a/#", subscribe, "a/+/c", true},
		{"allow subscribe a/#", subscribe, "#", false},
		{"allow subscribe a/#; allow subscribe b/#", subscribe, "+/x", false},
		{"deny subscribe a/secret; allow subscribe a/#", subscribe, "a/#", false},
		{"deny subscribe a/secret; allow subscribe a/#", subscribe, "a/+", false},
		{"deny subscribe a/secret; allow subscribe a/#", subscribe, "a/open", true},
		{"allow subscribe a/#; deny subscribe a/secret", subscribe, "a/#", true},
		{"deny publish a/secret; allow all a/#", subscribe, "a/#", true},
		// System topics are not matched by a wildcard first level.
		{"allow all #", subscribe, "$SYS/#", false},
		{"allow all #", publish, "$SYS/x", false},
		{"allow all $SYS/#", subscribe, "$SYS/#", true},
		// Placeholders.
		{"allow all cmd/%c/#", publish, "cmd/dev1/x", true},
		{"allow all cmd/%c/#", publish, "cmd/dev2/x", false},
		{"allow all cmd/%c/#", subscribe, "cmd/dev1/#", true},
		{"allow all cmd/%c/#", subscribe, "cmd/+/#", false},
		{"allow all cmd/%u/%c", publish, "cmd/demo/dev1", true},
		{"allow all cmd/dev-%c", publish, "cmd/dev-dev1", true},
		// What is addressed to the client reaches it anyway.
		{"allow all nothing", subscribe, "t/p2p/dev1", true},
		{"allow all nothing", subscribe, "/p2p/dev1", true},
		{"deny all #", subscribe, "t/p2p/dev1/", true},
		{"allow all nothing", subscribe, "t/p2p/dev2", false},
		{"allow all nothing", subscribe, "+/p2p/dev1", false},
		{"allow all nothing", subscribe, "t/p2p/+", false},
		{"allow all nothing", subscribe, "t/p2p/dev1/#", false},
		{"allow all nothing", publish, "t/p2p/dev1", false},
	}
	for _, c := range cases {
		got, why := decide(parse(t, c.rules), me, c.kind, c.topic)
		require.Equal(t, c.want, got, "rules %q, %s %s: %s", c.rules, c.kind, c.topic, why)
		require.NotEmpty(t, why)
	}
}

func TestANameWithTopicCharactersWidensNoRule(t *testing.T) {
	for _, name := range []string{"+", "#", "a/b", "a/#", "dev+", "", "/", "x\x00y"} {
		for _, placeholder := range []string{"%c", "%u"} {
			c := client{id: "dev1", username: "demo"}
			if placeholder == "%c" {
				c.id = name
			} else {
				c.username = name
			}
			allowed := parse(t, "allow all cmd/"+placeholder+"/#")
			for _, topic := range []string{"cmd/dev1/x", "cmd/a/b/x", "cmd/" + name + "/x", "cmd//x"} {
				got, _ := decide(allowed, c, publish, topic)
				require.False(t, got, "%s=%q publishes %q", placeholder, name, topic)
				got, _ = decide(allowed, c, subscribe, topic)
				require.False(t, got, "%s=%q subscribes %q", placeholder, name, topic)
			}
			// Skipping a deny would widen what comes after it.
			got, why := decide(parse(t, "deny all cmd/"+placeholder+"/#; allow all #"), c, publish, "other")
			require.False(t, got, why)
			// Rules without the placeholder are not touched.
			got, _ = decide(parse(t, "allow all open/#"), c, publish, "open/x")
			require.True(t, got)
		}
	}
}

func TestAPlaceholderInANameIsNotReplaced(t *testing.T) {
	got, _ := decide(parse(t, "allow all cmd/%c"), client{id: "%u", username: "root"}, publish, "cmd/root")
	require.False(t, got)
	got, _ = decide(parse(t, "allow all cmd/%c"), client{id: "%u", username: "root"}, publish, "cmd/%u")
	require.True(t, got)
}

func TestANameDoesNotReachSystemTopics(t *testing.T) {
	got, _ := decide(parse(t, "allow all %c/#"), client{id: "$SYS"}, subscribe, "$SYS/#")
	require.False(t, got)
}

// Whatever a client calls itself, a rule about its own branch never lets it into another one's.
func FuzzPlaceholdersStayInTheirLevel(f *testing.F) {
	f.Add("+", "cmd/victim/x")
	f.Add("a/#", "cmd/a/#")
	f.Add("%u", "cmd/%u/x")
	rules := parse(f, "allow all cmd/%c/#")
	f.Fuzz(func(t *testing.T, id, topic string) {
		if topicfilter.Validate(topic) != nil {
			t.Skip()
		}
		c := client{id: id, username: "demo"}
		for _, kind := range []action{publish, subscribe} {
			allowed, _ := decide(rules, c, kind, topic)
			own := strings.HasPrefix(topic+"/", "cmd/"+id+"/") && plain(id)
			if allowed && !own && !(kind == subscribe && ownP2P(c, topic)) {
				t.Fatalf("client %q may %s %q", id, kind, topic)
			}
		}
	})
}
