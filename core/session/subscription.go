package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/topic"
)

// subscription is one filter of the session, with the feeds that bring its records.
type subscription struct {
	filter string
	// reads is the filter of the records that the subscription brings: the filter itself, or the part after "$share/{group}/" of a shared
	// subscription.
	reads   string
	group   string // of a shared subscription; else empty
	qos     byte
	options packet.Subscription
	id      uint32
	created time.Time
	starts  map[string]int64 // of a durable session: the first offset, by startKey
	opening bool             // the feeds are not complete yet
	feeds   []*feed
	retains retains
	// counted: the subscription takes memory of the node, counted under mark.
	counted bool
	mark    string
}

// newSubscription makes a subscription for a filter as SUBSCRIBE or a session's record spells it.
func newSubscription(filter string) *subscription {
	sub := &subscription{filter: filter, reads: filter}
	if group, inner, shared, err := topic.ParseShared(filter); err == nil && shared {
		sub.group, sub.reads = group, inner
	}
	return sub
}

// shared reports whether this is a shared subscription.
func (sub *subscription) shared() bool { return sub.group != "" }

// hasTail reports whether the subscription has a feed without a queue of its own.
func (sub *subscription) hasTail() bool {
	for _, f := range sub.feeds {
		if f.at.Ref.Queue == "" {
			return true
		}
	}
	return false
}

// manySubscriptions is the number of subscriptions from which a session uses a trie to match topic names.
const manySubscriptions = 16

// addSubscription adds a subscription. Called with mu held.
func (s *Session) addSubscription(sub *subscription) {
	if s.subs == nil {
		s.subs = make(map[string]*subscription, 1)
	}
	s.subs[sub.filter] = sub
	s.countMemory(sub)
	switch {
	case s.matcher != nil:
		if !sub.shared() {
			s.matcher.Add(sub.filter, sub)
		}
	case len(s.subs) >= manySubscriptions:
		s.matcher = topic.NewTrie[*subscription]()
		for filter, sub := range s.subs {
			if !sub.shared() {
				s.matcher.Add(filter, sub)
			}
		}
	}
}

// removeSubscription drops a subscription. Called with mu held.
func (s *Session) removeSubscription(sub *subscription) {
	delete(s.subs, sub.filter)
	s.giveMemory(sub)
	s.matched = nil
	if s.matcher != nil && !sub.shared() {
		s.matcher.Remove(sub.filter, sub)
	}
}

// matching sets s.matched to the subscriptions that match a topic name, except shared ones, and returns it. by is a subscription that is
// known to match. Called with mu held; the result is valid until the next call.
func (s *Session) matching(name string, by *subscription) []*subscription {
	s.matched = s.matched[:0]
	switch {
	case len(s.subs) == 1: // the source has matched the topic name already
		s.matched = append(s.matched, by)
	case s.matcher != nil:
		s.matcher.Match(name, func(sub *subscription) { s.matched = append(s.matched, sub) })
	default:
		for filter, sub := range s.subs {
			if !sub.shared() && (sub == by || topic.Match(filter, name)) {
				s.matched = append(s.matched, sub)
			}
		}
	}
	return s.matched
}

// eachFeed calls f for every feed. Called with mu held.
func (s *Session) eachFeed(f func(*feed)) {
	for _, fd := range s.p2p {
		f(fd)
	}
	for _, sub := range s.subs {
		for _, fd := range sub.feeds {
			f(fd)
		}
	}
}
