// Package topicrules decides by a list of topic rules what a client may publish and subscribe to. It is for auth plugins that have
// such rules in their configuration, where sdk.Decode decodes them:
//
//	Rules []topicrules.Rule `config:"rules"`
//
// The first rule that matches decides. An action that no rule matches is denied.
//
// Wildcards in the topic of a publish rule include point-to-point topics, {first}/p2p/{client id}: "allow publish b/#" reaches every
// client. A deny rule before it excludes them. A name in a placeholder never makes a topic point to point.
package topicrules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// Rule is one rule as it is configured.
type Rule struct {
	Effect Effect `config:"effect,required" doc:"allow or deny"`
	Action Action `config:"action" default:"all" doc:"publish, subscribe or all"`
	Topic  string `config:"topic,required" doc:"a topic filter; %c is the client identifier, %u the user name"`
}

// String writes a rule as it is configured.
func (r Rule) String() string { return fmt.Sprintf("%s %s %s", r.Effect, r.Action, r.Topic) }

// UsesClientID reports whether an allow rule depends on the client identifier (%c). If a user may choose its client identifiers, such a
// rule allows the user what it allows any client: somebody who knows the password can take another client's identifier.
func UsesClientID(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Effect == Allow && strings.Contains(r.Topic, "%c") })
}

// Subject is the client that rules are applied to. Its fields must be authenticated: a name that the client merely claims would let it
// choose its own rights.
type Subject struct {
	// ClientID stands for %c.
	ClientID string
	// Username stands for %u.
	Username string
	// Values stand for %{name}.
	Values map[string]string
}

// Decide applies rules to an action; kind is Publish or Subscribe. why says which rule decided, for the gateway's log.
//
// A publish is decided by the first rule that matches its topic. A subscribe is a set of topics: an allow rule decides if it covers the
// whole filter, a deny rule if it overlaps the filter. A client may always subscribe to its own point-to-point topics, because messages
// addressed to it reach it anyway.
func Decide(rules []Rule, s Subject, kind Action, topic string) (allowed bool, why string) {
	if kind == Subscribe && ownP2P(s, topic) {
		return true, "a client may receive what is addressed to it"
	}
	for i, r := range rules {
		if r.Action&kind == 0 {
			continue
		}
		filter, sound := r.filterFor(s)
		switch {
		case !sound && r.Effect == Allow:
			continue
		case !sound:
			return false, fmt.Sprintf("rule %d (%s) cannot be applied to this client's names", i+1, r)
		case r.Effect == Allow && kind == Publish && topicfilter.Match(filter, topic),
			r.Effect == Allow && kind == Subscribe && topicfilter.Covers(filter, topic):
			return true, fmt.Sprintf("rule %d (%s)", i+1, r)
		case r.Effect == Deny && kind == Publish && topicfilter.Match(filter, topic),
			r.Effect == Deny && kind == Subscribe && topicfilter.Overlaps(filter, topic):
			return false, fmt.Sprintf("rule %d (%s)", i+1, r)
		}
	}
	return false, "no rule allows it"
}

// DecideOrAll is Decide for users who may do everything if they have no rules.
func DecideOrAll(rules []Rule, s Subject, kind Action, topic string) (allowed bool, why string) {
	if len(rules) == 0 {
		return true, "there are no rules"
	}
	return Decide(rules, s, kind, topic)
}

// ownP2P reports whether a filter matches only the client's own point-to-point topics: {first}/p2p/{client id}, or the queue itself,
// /p2p/{client id}.
func ownP2P(s Subject, filter string) bool {
	if !plain(s.ClientID) {
		return false
	}
	first, rest, ok := strings.Cut(filter, "/")
	return ok && !strings.ContainsAny(first, "+#") && strings.TrimSuffix(rest, "/") == p2p+"/"+s.ClientID
}
