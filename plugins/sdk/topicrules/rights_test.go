package topicrules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

var subjects = []Subject{{ClientID: "dev1", Username: "demo"}, {ClientID: "+", Username: "a/b"}, {ClientID: "$SYS", Username: "demo"},
	{ClientID: "p2p", Username: "p2p"}, {}}

// samples are rules for the tests of this file.
var samples = []string{
	"", "allow all #", "allow all cmd/%c/#", "deny all cmd/%c/#; allow all #", "allow publish a/+; allow subscribe a/#",
	"deny subscribe a/secret; allow all a/#", "allow all a/#; deny all a/secret", "deny publish +/x; allow all #", "allow all %u/#",
	"allow all $SYS/#; allow all #", "deny publish %u; allow publish b/#", "allow all %c/#", "allow all /cmd/%c/#; deny all +/p2p/#; allow all #",
}

func TestRightsAllowWhatTheRulesAllow(t *testing.T) {
	topics := []string{"a", "a/x", "a/secret", "a/#", "a/+", "+", "#", "+/x", "$SYS/x", "$SYS/#", "cmd/dev1/x", "cmd/dev1/#", "cmd/+/#",
		"demo/x", "b/x", "b/#", "t/p2p/dev1", "cmd/p2p/dev1", "/cmd/p2p/dev1"}
	for _, text := range samples {
		rules := parse(t, text)
		for _, s := range subjects {
			unsound := false
			for _, r := range rules {
				_, sound := r.filterFor(s)
				unsound = unsound || !sound && r.Effect == Deny
			}
			for _, topic := range topics {
				for _, kind := range []Action{Publish, Subscribe} {
					want, why := Decide(rules, s, kind, topic)
					got := Allows(Rights(rules, s, time.Minute), kind, topic)
					if asked := unsound || ownP2P(s, topic); asked && !got {
						continue
					}
					require.Equal(t, want && Malformed(kind, topic) == nil, got, "%q, %+v, %s %s: %s", text, s, kind, topic, why)
				}
			}
		}
	}
}

func FuzzRightsAllowNoMoreThanTheRules(f *testing.F) {
	f.Add(3, "dev1", "cmd/dev1/x")
	f.Add(8, "a/+", "a/#")
	f.Fuzz(func(t *testing.T, which int, name, topic string) {
		rules := parse(t, samples[uint(which)%uint(len(samples))])
		s := Subject{ClientID: name, Username: name}
		for kind, invalid := range map[Action]error{Publish: topicfilter.ValidateName(topic), Subscribe: topicfilter.Validate(topic)} {
			if allowed, why := Decide(rules, s, kind, topic); invalid == nil && !allowed && Allows(Rights(rules, s, time.Minute), kind, topic) {
				t.Fatalf("%q may %s %q by its rights, and by the rules: %s", name, kind, topic, why)
			}
		}
	})
}

func TestRightsSayForHowLongAndOfManyRulesTheFirst(t *testing.T) {
	require.Equal(t, int64(60_000), Rights(parse(t, "allow all a"), subjects[0], time.Minute).GetCacheMs())
	require.Equal(t, int64(60_000), RightsOrAll(nil, subjects[0], time.Minute).GetCacheMs())
	require.True(t, Allows(RightsOrAll(nil, subjects[0], time.Minute), Subscribe, "#"))
	require.False(t, Allows(RightsOrAll(parse(t, "allow all a"), subjects[0], time.Minute), Subscribe, "#"))

	var many, long strings.Builder
	for i := range 40 {
		fmt.Fprintf(&many, "allow all t/%d;", i)
		fmt.Fprintf(&long, "allow all t/%d/%s;", i, strings.Repeat("x", 1000))
	}
	require.Len(t, Rights(parse(t, many.String()), subjects[0], time.Minute).GetRights(), maxRights)
	require.Len(t, Rights(parse(t, long.String()), subjects[0], time.Minute).GetRights(), 4)
}
