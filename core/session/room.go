package session

import (
	"errors"
	"fmt"
	"sync"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Subscriptions take memory of the node while their session is in it, whatever becomes of them in the metadata. That memory is bounded for
// the node and for an identity. The subscriptions of a session that is resumed are taken in any case.

// errNoSubscriptionMemory: the subscriptions of the node's clients take as much memory as they may.
var errNoSubscriptionMemory = errors.New("there is no memory for more subscriptions")

// subscriptionCost is what a subscription costs beside its filter, about, in bytes.
const subscriptionCost = 1 << 10

// cost is what a subscription costs of memory, about, in bytes: the filter is in the session and in the node's indexes.
func (sub *subscription) cost() int64 { return subscriptionCost + 2*int64(len(sub.filter)) }

// subscriptionRoom is the memory of the node's subscriptions. Its mutex is a leaf.
type subscriptionRoom struct {
	mu    sync.Mutex
	max   int64 // 0: no bound
	share int64 // of one identity, in percent
	all   int64
	of    map[string]int64 // by meta.Owner.Mark
}

// SetSubscriptions changes Options.MaxSubscriptions, SubscriptionMemory and IdentityShare, for what is subscribed from now on.
func (m *Manager) SetSubscriptions(most int, memory int64, share int) {
	m.maxSubs.Store(int64(most))
	if share == 0 {
		share = limits.IdentityShare
	}
	r := &m.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.max, r.share = memory, int64(share)
}

// take takes memory for a subscription; always where it is there already.
func (r *subscriptionRoom) take(mark string, n int64, always bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !always && r.max > 0 {
		if r.all+n > r.max {
			return fmt.Errorf("%w: they take %d of %d bytes, see limits.node.subscription_memory", errNoSubscriptionMemory, r.all, r.max)
		}
		if limit := r.max * r.share / 100; mark != "" && r.of[mark]+n > limit {
			return fmt.Errorf("%w: those of the identity take %d of %d bytes, see limits.identity.share", errNoSubscriptionMemory, r.of[mark], limit)
		}
	}
	r.add(mark, n)
	return nil
}

// give gives memory back.
func (r *subscriptionRoom) give(mark string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(mark, -n)
}

// add is called with mu held.
func (r *subscriptionRoom) add(mark string, n int64) {
	r.all += n
	if mark == "" {
		return
	}
	if r.of == nil {
		r.of = map[string]int64{}
	}
	if r.of[mark] += n; r.of[mark] == 0 {
		delete(r.of, mark)
	}
}

// used is how much memory is taken, and its bound; 0: no bound.
func (r *subscriptionRoom) used() (n, limit int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all, r.max
}

// SubscriptionMemory is what the subscriptions of the node's clients take of memory, about, in bytes, and how much they may; 0: no bound.
func (m *Manager) SubscriptionMemory() (used, limit int64) { return m.room.used() }

// takeMemory takes the memory for a new subscription, or says why the client may have no more. over and keysOver are by how much it would
// be over what a client may have. Called with mu held.
func (s *Session) takeMemory(sub *subscription, over, keysOver, most int) error {
	switch {
	case over >= 0, keysOver >= 0 && (s.durable() || sub.shared()):
		return fmt.Errorf("%w: %d, no more are allowed", errTooManySubscriptions, most)
	case s.m.o.Short != nil && s.m.o.Short():
		return fmt.Errorf("%w: the gateway is short of memory", errNoSubscriptionMemory)
	}
	if err := s.m.room.take(s.mark, sub.cost(), false); err != nil {
		return err
	}
	sub.counted, sub.mark = true, s.mark
	return nil
}

// keys is how many of the session's subscriptions take a key of the metadata. Called with mu held.
func (s *Session) keys() int {
	if s.durable() {
		return len(s.subs)
	}
	n := 0
	for filter := range s.subs {
		if topic.IsShared(filter) {
			n++
		}
	}
	return n
}

// countMemory counts a subscription that is there, where it is not counted yet. Called with mu held.
func (s *Session) countMemory(sub *subscription) {
	if sub.counted || s.conn == nil {
		return
	}
	_ = s.m.room.take(s.mark, sub.cost(), true)
	sub.counted, sub.mark = true, s.mark
}

// giveMemory gives back the memory of a subscription that goes, or leaves the node's memory. Called with mu held.
func (s *Session) giveMemory(sub *subscription) {
	if sub.counted {
		s.m.room.give(sub.mark, sub.cost())
		sub.counted = false
	}
}
