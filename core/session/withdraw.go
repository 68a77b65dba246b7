package session

import (
	"context"
	"slices"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/topic"
)

// A client can lose rights while its subscriptions live. Package mqtt judges the rights and calls Withdraw for subscriptions that are no
// longer allowed: messages queued for them are not sent, and messages that were sent but not acknowledged are not sent again.

// Right is a subscription as it is authorised.
type Right struct {
	// Filter names the subscription. Reads is the filter without "$share/{group}/". Group is the group of a shared subscription.
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

// Withdraw ends subscriptions that the client may no longer have. It does nothing if a newer connection has the session: that connection
// may belong to another identity, and is judged on its own.
func (s *Session) Withdraw(ctx context.Context, c Conn, filters []string) {
	if s.endSubscriptions(ctx, c, filters, s.withdraw) == nil {
		return
	}
	slices.Sort(filters)
	s.m.log.Warn("subscriptions ended: the client may not have them any more", "client", s.id, "count", len(filters),
		"filters", filters[:min(len(filters), maxShownFilters)])
}

// withdraw ends the messages in flight that no remaining subscription covers. Messages already sent on the present connection may still be
// acknowledged, but are not sent again. Called with mu held.
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

// subscribed reports whether any subscription, except shared ones, matches a topic name. Called with mu held.
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

// forgoWithdrawn ends messages that were sent on an earlier connection and may not be sent on this one. Called with mu held.
func (s *Session) forgoWithdrawn() {
	for _, m := range s.out.InOrder() {
		if m.Withdrawn && m.Content != nil {
			s.forgo(m)
		}
	}
}
