package topicrules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// parse reads rules as "allow publish a/b; deny all c/#".
func parse(t testing.TB, text string) []Rule {
	t.Helper()
	var rules []Rule
	for part := range strings.SplitSeq(text, ";") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		var r Rule
		require.Len(t, f, 3, part)
		require.NoError(t, r.Effect.UnmarshalText([]byte(f[0])))
		require.NoError(t, r.Action.UnmarshalText([]byte(f[1])))
		r.Topic = f[2]
		rules = append(rules, r)
	}
	return rules
}

func TestRulesDecideByTheFirstMatch(t *testing.T) {
	me := Subject{ClientID: "dev1", Username: "demo"}
	cases := []struct {
		rules string
		kind  Action
		topic string
		want  bool
	}{
		{"", Publish, "anything", false},
		{"", Subscribe, "#", false},
		{"", Subscribe, "t/p2p/dev1", true},
		{"allow all a/#", Publish, "a/b", true},
		{"allow all a/#", Publish, "b", false},
		{"allow publish a/#", Subscribe, "a/#", false},
		{"allow subscribe a/#", Publish, "a/b", false},
		{"deny publish a/x; allow all a/#", Publish, "a/x", false},
		{"deny publish a/x; allow all a/#", Publish, "a/y", true},
		{"allow all a/#; deny publish a/x", Publish, "a/x", true},
		// A subscription is a set of topics: an allow rule must cover all of it, a deny rule only has to overlap it.
		{"allow subscribe a/+", Subscribe, "a/#", false},
		{"allow subscribe a/#", Subscribe, "a/+/c", true},
		{"allow subscribe a/#", Subscribe, "#", false},
		{"allow subscribe a/#; allow subscribe b/#", Subscribe, "+/x", false},
		{"deny subscribe a/secret; allow subscribe a/#", Subscribe, "a/#", false},
		{"deny subscribe a/secret; allow subscribe a/#", Subscribe, "a/+", false},
		{"deny subscribe a/secret; allow subscribe a/#", Subscribe, "a/open", true},
		{"allow subscribe a/#; deny subscribe a/secret", Subscribe, "a/#", true},
		{"deny publish a/secret; allow all a/#", Subscribe, "a/#", true},
		// A wildcard first level does not match system topics.
		{"allow all #", Subscribe, "$SYS/#", false},
		{"allow all #", Publish, "$SYS/x", false},
		{"allow all $SYS/#", Subscribe, "$SYS/#", true},
		// Placeholders.
		{"allow all cmd/%c/#", Publish, "cmd/dev1/x", true},
		{"allow all cmd/%c/#", Publish, "cmd/dev2/x", false},
		{"allow all cmd/%c/#", Subscribe, "cmd/dev1/#", true},
		{"allow all cmd/%c/#", Subscribe, "cmd/+/#", false},
		{"allow all cmd/%u/%c", Publish, "cmd/demo/dev1", true},
		{"allow all cmd/dev-%c", Publish, "cmd/dev-dev1", true},
		// Messages addressed to the client reach it anyway.
		{"allow all nothing", Subscribe, "t/p2p/dev1", true},
		{"allow all nothing", Subscribe, "/p2p/dev1", true},
		{"deny all #", Subscribe, "t/p2p/dev1/", true},
		{"allow all nothing", Subscribe, "t/p2p/dev2", false},
		{"allow all nothing", Subscribe, "+/p2p/dev1", false},
		{"allow all nothing", Subscribe, "t/p2p/+", false},
		{"allow all nothing", Subscribe, "t/p2p/dev1/#", false},
		{"allow all nothing", Publish, "t/p2p/dev1", false},
	}
	for _, c := range cases {
		got, why := Decide(parse(t, c.rules), me, c.kind, c.topic)
		require.Equal(t, c.want, got, "rules %q, %s %s: %s", c.rules, c.kind, c.topic, why)
		require.NotEmpty(t, why)
	}
}

func TestANameWithTopicCharactersWidensNoRule(t *testing.T) {
	for _, name := range []string{"+", "#", "a/b", "a/#", "dev+", "", "/", "x\x00y"} {
		for _, placeholder := range []string{"%c", "%u"} {
			c := Subject{ClientID: "dev1", Username: "demo"}
			if placeholder == "%c" {
				c.ClientID = name
			} else {
				c.Username = name
			}
			allowed := parse(t, "allow all cmd/"+placeholder+"/#")
			for _, topic := range []string{"cmd/dev1/x", "cmd/a/b/x", "cmd/" + name + "/x", "cmd//x"} {
				got, _ := Decide(allowed, c, Publish, topic)
				require.False(t, got, "%s=%q publishes %q", placeholder, name, topic)
				got, _ = Decide(allowed, c, Subscribe, topic)
				require.False(t, got, "%s=%q subscribes %q", placeholder, name, topic)
			}
			// Skipping a deny rule would widen the rules after it.
			got, why := Decide(parse(t, "deny all cmd/"+placeholder+"/#; allow all #"), c, Publish, "other")
			require.False(t, got, why)
			// Rules without the placeholder are not affected.
			got, _ = Decide(parse(t, "allow all open/#"), c, Publish, "open/x")
			require.True(t, got)
		}
	}
}

func TestAPlaceholderInANameIsNotReplaced(t *testing.T) {
	got, _ := Decide(parse(t, "allow all cmd/%c"), Subject{ClientID: "%u", Username: "root"}, Publish, "cmd/root")
	require.False(t, got)
	got, _ = Decide(parse(t, "allow all cmd/%c"), Subject{ClientID: "%u", Username: "root"}, Publish, "cmd/%u")
	require.True(t, got)
}

func TestANameDoesNotReachSystemTopics(t *testing.T) {
	for _, c := range []struct {
		topic, id, asked string
		want             bool
	}{
		{"%c/#", "$SYS", "$SYS/#", false},
		{"%c/#", "$share", "$share/g/a", false},
		{"%c/#", "$events", "$events/#", false},
		{"/%c/#", "$events", "/$events/#", false},
		{"+/%c/#", "$events", "/$events/#", false},
		{"$%c/#", "SYS", "$SYS/#", false},
		{"$e%c/#", "vents", "$events/#", false},
		{"$%c/#", "dev1", "$dev1/#", true},
		{"$SYS/%c/#", "dev1", "$SYS/dev1/#", true},
		{"a/%c/#", "$dev1", "a/$dev1/#", true},
	} {
		got, why := Decide(parse(t, "allow all "+c.topic), Subject{ClientID: c.id}, Subscribe, c.asked)
		require.Equal(t, c.want, got, "%s, client %s, %s: %s", c.topic, c.id, c.asked, why)
	}
}

func TestANameDoesNotMakeATopicPointToPoint(t *testing.T) {
	named := Subject{ClientID: "p2p", Username: "p2p", Values: map[string]string{"tenant": "p2p", "https://id/a": "p2p", "two": "2"}}
	cases := []struct {
		rules, topic string
		want         bool
	}{
		{"allow all state/%c/#", "state/p2p/victim", false},
		{"allow all state/%c/#", "state/p2p/p2p", false},
		{"allow all state/%u/#", "state/p2p/victim", false},
		{"allow all state/%{tenant}/#", "state/p2p/victim", false},
		{"allow all state/%{https://id/a}/#", "state/p2p/victim", false},
		{"allow all state/p%{two}p/+", "state/p2p/victim", false},
		{"allow all %c/%c/+", "p2p/p2p/victim", false},
		{"allow all /state/%c/#", "/state/p2p/victim", false},
		{"allow all //%c/#", "//p2p/victim", false},
		{"allow all /%u/%c/#", "/p2p/p2p/victim", false},
		{"allow all +/%c/#", "state/p2p/victim", false},
		{"allow all +/+/%c/#", "/state/p2p/victim", false}, // + matches the empty level before the first "/"
		{"deny all state/%c/#; allow all #", "other", false},
		// The rule says so itself, or the name is on another level.
		{"allow all state/p2p/%c", "state/p2p/p2p", true},
		{"allow all %c/p2p/#", "p2p/p2p/victim", true},
		{"allow all state/#", "state/p2p/victim", true},
		{"allow all state/+/%c", "state/p2p/p2p", true},
		{"allow all %c/x", "p2p/x", true},
		{"allow all /%c/x", "/p2p/x", true},
		{"allow all a/b/%c/x", "a/b/p2p/x", true},
		{"allow all a/x-%c/b", "a/x-p2p/b", true},
		{"allow all a/%{two}/b", "a/2/b", true},
	}
	for _, c := range cases {
		got, why := Decide(parse(t, c.rules), named, Publish, c.topic)
		require.Equal(t, c.want, got, "rules %q, %s: %s", c.rules, c.topic, why)
		require.Equal(t, c.want, Allows(Rights(parse(t, c.rules), named, time.Minute), Publish, c.topic), "rights of %q, %s", c.rules, c.topic)
	}
	got, _ := Decide(parse(t, "allow all state/%c/#"), named, Subscribe, "state/p2p/p2p")
	require.True(t, got, "its own point-to-point topic")
}

func TestADenyRuleKeepsPointToPointTopicsOutOfAWildcard(t *testing.T) {
	rules := parse(t, "deny publish +/p2p/#; deny publish /+/p2p/#; allow all #")
	for topic, want := range map[string]bool{
		"b/p2p/victim": false, "/b/p2p/victim": false, "//p2p/victim": false, "/$b/p2p/a/b": false, "b/x/p2p": true, "b/p2px/victim": true,
	} {
		got, why := Decide(rules, subjects[0], Publish, topic)
		require.Equal(t, want, got, "%s: %s", topic, why)
	}
	got, _ := Decide(rules, subjects[0], Subscribe, "#")
	require.True(t, got, "it denies publishing only")
}

// targetOf returns the client that a topic addresses, as the gateway reads it.
func targetOf(topic string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(topic, "/"), "/")
	target, ok := strings.CutPrefix(rest, "p2p/")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(target, "/")
}

// Whatever name a client has, rules that name no point-to-point topic, also by no wildcard, let it send to no client.
func FuzzNamesReachNoOtherClient(f *testing.F) {
	f.Add("p2p", "state/p2p/victim")
	f.Add("p2p", "/a/p2p/victim")
	f.Add("p", "b/p2p/victim")
	rules := parse(f, "allow all state/%c/#; allow all /a/%u/#; allow all b/%c2p/#; allow all %c/x/#; allow all //%c/#")
	f.Fuzz(func(t *testing.T, name, topic string) {
		if topicfilter.ValidateName(topic) != nil || targetOf(topic) == "" {
			t.Skip()
		}
		s := Subject{ClientID: name, Username: name}
		if allowed, why := Decide(rules, s, Publish, topic); allowed {
			t.Fatalf("%q may publish %q: %s", name, topic, why)
		}
		if Allows(Rights(rules, s, time.Minute), Publish, topic) {
			t.Fatalf("%q may publish %q by its rights", name, topic)
		}
	})
}

// Whatever name a client chooses, a rule about its own branch never gives it access to another client's branch.
func FuzzPlaceholdersStayInTheirLevel(f *testing.F) {
	f.Add("+", "cmd/victim/x")
	f.Add("a/#", "cmd/a/#")
	f.Add("%u", "cmd/%u/x")
	rules := parse(f, "allow all cmd/%c/#")
	f.Fuzz(func(t *testing.T, id, topic string) {
		if topicfilter.Validate(topic) != nil {
			t.Skip()
		}
		c := Subject{ClientID: id, Username: "demo"}
		for _, kind := range []Action{Publish, Subscribe} {
			allowed, _ := Decide(rules, c, kind, topic)
			own := strings.HasPrefix(topic+"/", "cmd/"+id+"/") && plain(id)
			if allowed && !own && !(kind == Subscribe && ownP2P(c, topic)) {
				t.Fatalf("client %q may %s %q", id, kind, topic)
			}
		}
	})
}

func TestWhereNoRulesAreWrittenEverythingMayBeAllowed(t *testing.T) {
	me := Subject{ClientID: "dev1", Username: "demo"}
	for kind, topic := range map[Action]string{Publish: "anything", Subscribe: "#"} {
		got, why := DecideOrAll(nil, me, kind, topic)
		require.True(t, got)
		require.NotEmpty(t, why)
		got, _ = DecideOrAll(parse(t, "allow all other"), me, kind, topic)
		require.False(t, got)
	}
}

func TestValuesStandForThemselvesOnly(t *testing.T) {
	s := Subject{
		ClientID: "dev1",
		Values:   map[string]string{"tenant": "acme", "site.id": "7", "wild": "+", "deep": "a/b", "sys": "$SYS", "self": "%{tenant}"},
	}
	cases := []struct {
		rules, topic string
		want         bool
	}{
		{"allow all t/%{tenant}/#", "t/acme/x", true},
		{"allow all t/%{tenant}/#", "t/other/x", false},
		{"allow all %{tenant}-%{site.id}/%c", "acme-7/dev1", true},
		{"allow all t/%{wild}/#", "t/acme/x", false},
		{"allow all t/%{deep}/#", "t/a/b/x", false},
		{"allow all t/%{missing}/#", "t//x", false},
		{"allow all %{sys}/#", "$SYS/x", false},
		{"allow all t/%{self}", "t/acme", false},
		{"allow all t/%{self}", "t/%{tenant}", true},
		{"deny all t/%{missing}; allow all #", "other", false},
		{"allow all t/%{tenant", "t/%{tenant", true},
		{"allow all %LMQ%x/50%", "%LMQ%x/50%", true},
	}
	for _, c := range cases {
		got, why := Decide(parse(t, c.rules), s, Publish, c.topic)
		require.Equal(t, c.want, got, "rules %q, %s: %s", c.rules, c.topic, why)
	}
	require.Equal(t, []string{"a", "b.c"}, Values(parse(t, "allow all %{a}/%c; deny all %{b.c}/%{a}/%{x")))
}

func TestCheckNamesWhatIsWrongWithARule(t *testing.T) {
	cases := []struct {
		rule   string
		values bool
		says   string
	}{
		{"allow all a/%c/%u/#", false, ""},
		{"allow all a/%{tenant}", true, ""},
		{"allow all a/%{tenant}", false, "%{tenant} is not known here; there are %c"},
		{"allow all a/%{}", true, "lacks a name"},
		{"allow all a/#/%c", true, "# must be the last level"},
		{"allow all a/x+", true, "whole level"},
	}
	for _, c := range cases {
		problems := Check("rules", parse(t, "allow all ok; "+c.rule), c.values)
		if c.says == "" {
			require.Empty(t, problems, c.rule)
			continue
		}
		require.Len(t, problems, 1, c.rule)
		require.Equal(t, "rules[1].topic", problems[0].Key)
		require.Contains(t, problems[0].Message, c.says)
	}
}

func TestAnswerDecidesEachActionInOrder(t *testing.T) {
	resp := Answer(&pluginv1.AuthorizeRequest{Actions: []*pluginv1.Action{
		{Kind: pluginv1.ActionKind_ACTION_KIND_PUBLISH, Topic: "a"},
		{Topic: "a"},
		{Kind: pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE, Topic: "a"},
	}}, time.Minute, func(kind Action, topic string) (bool, string) { return true, kind.String() + " " + topic })
	var got []string
	for _, d := range resp.GetDecisions() {
		require.Equal(t, int64(60_000), d.GetCacheMs())
		got = append(got, fmt.Sprintf("%v %s", d.GetAllow(), d.GetDetail()))
	}
	require.Equal(t, []string{"true publish a", "false unknown kind of action", "true subscribe a"}, got)
}
