package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/topic"
)

// subscription is one filter of the session, with the feeds that bring its records.
type subscription struct {
	filter string
	// reads is the filter whose records it brings: filter, or what is behind "$share/{group}/" of a shared subscription.
	reads   string
	group   string // of a shared subscription, else empty
	qos     byte
	options packet.Subscription
	id      uint32
	created time.Time
	starts  map[string]int64 // durable: first offset by broker
	opening bool             // its feeds are not complete yet
	feeds   []*feed
	retains retains
	// counted: it takes memory of the node, which is counted to mark.
	counted bool
	mark    string
}

// newSubscription makes a subscription as SUBSCRIBE or a session's record names it.
func newSubscription(filter string) *subscription {
	sub := &subscription{filter: filter, reads: filter}
	if group, inner, shared, err := topic.ParseShared(filter); err == nil && shared {
		sub.group, sub.reads = group, inner
	}
	return sub
}

// shared reports whether a subscription is one of a group.
func (sub *subscription) shared() bool { return sub.group != "" }

// hasTail reports whether it has a feed that reads no queue of its own.
func (sub *subscription) hasTail() bool {
	for _, f := range sub.feeds {
		if f.at.Ref.Queue == "" {
			return true
		}
	}
	return false
}

// manySubscriptions is from when on a session looks its subscriptions up in a trie.
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

// matching sets s.matched to the subscriptions, but for shared ones, that match a topic name. by is one that is known to. Called
// with mu held; the result is good until the next call.
func (s *Session) matching(name string, by *subscription) []*subscription {
	s.matched = s.matched[:0]
	switch {
	case len(s.subs) == 1: // the source has matched it already
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
