package session

import (
	"context"
	"slices"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Rights can be taken away while a subscription lives. Whoever judges them (see package mqtt) has those ended that are not allowed any
// more: what is queued under them is not sent, and what the client was sent and has not acknowledged is not sent again.

// Right is a subscription as it is authorised.
type Right struct {
	// Filter names the subscription, Reads is what it reads, without "$share/{group}/"; Group is that of a shared one.
	Filter, Reads, Group string
	QoS                  byte
}

// Rights lists the session's subscriptions, in no order.
func (s *Session) Rights() []Right {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.subs) == 0 {
		return nil
	}
	out := make([]Right, 0, len(s.subs))
	for _, sub := range s.subs {
		out = append(out, Right{sub.filter, sub.reads, sub.group, sub.qos})
	}
	return out
}

// maxShownFilters bounds how many filters a log line names.
const maxShownFilters = 8

// Withdraw ends subscriptions that the client may not have any more. It does nothing where a newer connection has the session: that one
// may belong to another identity, and is judged by itself.
func (s *Session) Withdraw(ctx context.Context, c Conn, filters []string) {
	if s.endSubscriptions(ctx, c, filters, s.withdraw) == nil {
		return
	}
	slices.Sort(filters)
	s.m.log.Warn("subscriptions ended: the client may not have them any more", "client", s.id, "count", len(filters),
		"filters", filters[:min(len(filters), maxShownFilters)])
}

// withdraw ends what is in flight under no subscription. What the present connection was sent already may be acknowledged, and is not
// sent again. Called with mu held.
func (s *Session) withdraw() {
	var shared []string
	for _, sub := range s.subs {
		if sub.shared() {
			shared = append(shared, sub.reads)
		}
	}
	wanted := func(m *flight.Message) bool {
		name := m.Content.Topic
		if target, ok := topic.P2PTarget(name); ok && target == s.id {
			return true
		}
		if m.Lease != nil {
			return slices.ContainsFunc(shared, func(filter string) bool { return topic.Match(filter, name) })
		}
		return s.subscribed(name)
	}
	sent := make(map[*flight.Message]bool)
	if s.started {
		for _, m := range s.out.InOrder() {
			sent[m] = !m.Unsent
		}
		for _, m := range s.resend {
			delete(sent, m)
		}
	}
	for _, m := range s.out.InOrder() {
		switch {
		case m.Content == nil || wanted(m):
		case sent[m]:
			m.Withdrawn = true
		default:
			s.forgo(m)
		}
	}
}

// subscribed reports whether a subscription, but for shared ones, matches a topic name. Called with mu held.
func (s *Session) subscribed(name string) bool {
	if s.matcher != nil {
		found := false
		s.matcher.Match(name, func(*subscription) { found = true })
		return found
	}
	for filter, sub := range s.subs {
		if !sub.shared() && topic.Match(filter, name) {
			return true
		}
	}
	return false
}

// forgo ends a message that is not to be sent. A group's record goes to another member. Called with mu held.
func (s *Session) forgo(m *flight.Message) {
	if m.Lease != nil {
		delivery.Return([]*delivery.Lease{m.Lease})
		m.Lease = nil
	}
	s.complete(m)
}

// forgoWithdrawn ends what an earlier connection was sent and this one may not be sent. Called with mu held.
func (s *Session) forgoWithdrawn() {
	for _, m := range s.out.InOrder() {
		if m.Withdrawn && m.Content != nil {
			s.forgo(m)
		}
	}
}
