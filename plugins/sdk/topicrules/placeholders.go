package topicrules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// filterFor inserts the subject's names into a rule's topic, in one pass, so that a name is never read as a placeholder. sound is false if
// a name that the rule refers to is missing or could mean more than itself: a wildcard, several levels, a system topic, or the level that
// makes a topic point to point. An allow rule then matches nothing, and a deny rule matches everything.
func (r Rule) filterFor(s Subject) (filter string, sound bool) {
	filter, sound = expand(r.Topic, func(placeholder string) (string, bool) {
		var name string
		switch placeholder {
		case "%c":
			name = s.ClientID
		case "%u":
			name = s.Username
		default:
			name = s.Values[nameOf(placeholder)]
		}
		return name, plain(name)
	})
	if !sound || filter == r.Topic {
		return filter, sound
	}
	text, _ := expand(r.Topic, func(string) (string, bool) { return "\x00", true }) // no name has this character
	if redirected(text, filter) {
		return "", false
	}
	return filter, true
}

// p2p is the second level of topics that go to one client without a subscription, {first}/p2p/{client id}.
const p2p = "p2p"

// ownFirst are the first levels that have a meaning to the gateway.
var ownFirst = []string{"$SYS", "$events", "$share"}

// redirected reports whether names have given a filter a meaning that the rule does not have: a first level that begins with "$", or a
// second level "p2p", through which a client could reach every other. text is the rule's topic with something else in place of each name.
//
// A leading "/" is skipped when the gateway counts levels. A first level "+" also matches the empty level before it.
func redirected(text, filter string) bool {
	was, is := strings.SplitN(text, "/", 4), strings.SplitN(filter, "/", 4)
	slash, maybe := is[0] == "", is[0] == "+"
	for i := range min(3, len(is)) {
		if was[i] == is[i] {
			continue
		}
		first := i == 0 || i == 1 && (slash || maybe)
		second := i == 1 && !slash || i == 2 && (slash || maybe)
		if first && strings.HasPrefix(is[i], "$") && (!strings.HasPrefix(was[i], "$") || slices.Contains(ownFirst, is[i])) ||
			second && is[i] == p2p {
			return true
		}
	}
	return false
}

// plain reports whether a name stands only for itself within one level of a topic.
func plain(name string) bool { return name != "" && !strings.ContainsAny(name, "+#/\x00") }

// expand replaces each placeholder of a topic; ok is false if put returned false for one.
func expand(topic string, put func(placeholder string) (string, bool)) (text string, ok bool) {
	if !strings.Contains(topic, "%") {
		return topic, true
	}
	var b strings.Builder
	for topic != "" {
		n := placeholder(topic)
		if n == 0 {
			b.WriteByte(topic[0])
			topic = topic[1:]
			continue
		}
		name, ok := put(topic[:n])
		if !ok {
			return "", false
		}
		b.WriteString(name)
		topic = topic[n:]
	}
	return b.String(), true
}

// placeholder returns the length of the placeholder at the start of a text, 0 if there is none. Any other % is literal.
func placeholder(text string) int {
	switch {
	case strings.HasPrefix(text, "%c"), strings.HasPrefix(text, "%u"):
		return len("%c")
	case strings.HasPrefix(text, "%{"):
		return strings.IndexByte(text, '}') + 1
	}
	return 0
}

// nameOf returns the name in a placeholder %{name}.
func nameOf(placeholder string) string { return placeholder[len("%{") : len(placeholder)-1] }

// Values lists the names of the placeholders %{name} that rules use, each once.
func Values(rules []Rule) []string {
	var names []string
	for _, r := range rules {
		expand(r.Topic, func(placeholder string) (string, bool) {
			if strings.HasPrefix(placeholder, "%{") && !slices.Contains(names, nameOf(placeholder)) {
				names = append(names, nameOf(placeholder))
			}
			return "", true
		})
	}
	return names
}

// Check checks what the types of rules cannot express. key is the configuration key of the list; values says whether placeholders %{name}
// are allowed.
func Check(key string, rules []Rule, values bool) []sdk.Problem {
	var problems []sdk.Problem
	for i, r := range rules {
		if err := r.check(values); err != nil {
			problems = append(problems, sdk.Problemf(fmt.Sprintf("%s[%d].topic", key, i), "%v", err))
		}
	}
	return problems
}

func (r Rule) check(values bool) error {
	var wrong error
	sample, _ := expand(r.Topic, func(placeholder string) (string, bool) {
		switch {
		case placeholder == "%{}":
			wrong = fmt.Errorf("%%{} lacks a name")
		case !values && strings.HasPrefix(placeholder, "%{"):
			wrong = fmt.Errorf("%s is not known here; there are %%c (client identifier) and %%u (user name)", placeholder)
		}
		return "x", true
	})
	if wrong != nil {
		return wrong
	}
	return topicfilter.Validate(sample)
}
