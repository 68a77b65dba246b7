package main

import (
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// client is whom rules are about.
type client struct{ id, username string }

// decide applies a user's rules to an action. why says which rule decided, for the gateway's log.
//
// A publish is decided by the first rule that matches its topic. A subscribe is a set of topics, so it needs more: an
// allow decides if it covers the whole filter, a deny if the filter could receive anything that it names.
func decide(rules []rule, c client, kind action, topic string) (allowed bool, why string) {
	if kind == subscribe && ownP2P(c, topic) {
		return true, "a client may receive what is addressed to it"
	}
	if len(rules) == 0 {
		return true, "the user has no rules"
	}
	for i, r := range rules {
		if r.Action&kind == 0 {
			continue
		}
		filter, sound := substitute(r.Topic, c)
		switch {
		case !sound && r.Effect == allow:
			continue
		case !sound:
			return false, fmt.Sprintf("rule %d (%s) cannot be applied to this client identifier or user name", i+1, describe(r))
		case r.Effect == allow && kind == publish && topicfilter.Match(filter, topic),
			r.Effect == allow && kind == subscribe && topicfilter.Covers(filter, topic):
			return true, fmt.Sprintf("rule %d (%s)", i+1, describe(r))
		case r.Effect == deny && kind == publish && topicfilter.Match(filter, topic),
			r.Effect == deny && kind == subscribe && topicfilter.Overlaps(filter, topic):
			return false, fmt.Sprintf("rule %d (%s)", i+1, describe(r))
		}
	}
	return false, "no rule allows it"
}

// describe writes a rule as it is configured.
func describe(r rule) string { return fmt.Sprintf("%s %s %s", r.Effect, r.Action, r.Topic) }

// substitute puts the client's names into a rule's topic, in one pass, so that a name is never read as a placeholder.
// sound is false where a name that the rule asks for is missing or could mean more than itself: as a wildcard, as several
// levels, or as a system topic. Such an allow matches nothing, and such a deny matches everything.
func substitute(topic string, c client) (filter string, sound bool) {
	if !strings.Contains(topic, "%") {
		return topic, true
	}
	if strings.Contains(topic, "%c") && !plain(c.id) || strings.Contains(topic, "%u") && !plain(c.username) {
		return "", false
	}
	filter = strings.NewReplacer("%c", c.id, "%u", c.username).Replace(topic)
	if strings.HasPrefix(filter, "$") && !strings.HasPrefix(topic, "$") {
		return "", false
	}
	return filter, true
}

// plain says whether a name stands for itself only, within one level of a topic.
func plain(name string) bool { return name != "" && !strings.ContainsAny(name, "+#/\x00") }

// ownP2P says whether a filter names nothing but the client's own point-to-point topics: {first}/p2p/{client id}, or the
// queue itself, /p2p/{client id}. Messages of these reach the client anyway.
func ownP2P(c client, filter string) bool {
	if !plain(c.id) {
		return false
	}
	first, rest, ok := strings.Cut(filter, "/")
	return ok && !strings.ContainsAny(first, "+#") && strings.TrimSuffix(rest, "/") == "p2p/"+c.id
}
