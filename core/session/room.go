package session

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Subscriptions take memory of the node while their session is in memory, whatever happens to them in the metadata. So do large wills, long
// client ids and user names, and long topic aliases. That memory is bounded per node and per identity. The subscriptions of a resumed
// session are always accepted.

// errNoSubscriptionMemory says that the subscriptions of the node's clients have reached their memory limit.
var errNoSubscriptionMemory = errors.New("there is no memory for more subscriptions")

// subscriptionCost is the approximate memory of a subscription besides its filter, in bytes.
const subscriptionCost = 1 << 10

// cost returns the approximate memory of a subscription, in bytes. The filter counts twice: it is in the session and in the node's indexes.
func (sub *subscription) cost() int64 { return subscriptionCost + 2*int64(len(sub.filter)) }

// subscriptionRoom is the memory of the node's subscriptions. Its mutex is a leaf lock.
type subscriptionRoom struct {
	mu    sync.Mutex
	max   int64 // 0: no bound
	share int64 // bound of one identity, in percent of max
	all   int64
	of    map[string]int64 // by meta.Owner.Mark
}

// SetSubscriptions changes Options.MaxSubscriptions, SubscriptionMemory and IdentityShare for subscriptions made from now on.
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

// take takes memory for a subscription. always: the subscription exists already, so it is accepted whatever the bounds say.
func (r *subscriptionRoom) take(mark string, n int64, always bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !always && r.max > 0 {
		if r.all+n > r.max {
			return fmt.Errorf("%w: they take %d of %d bytes, see limits.node.subscription_memory", errNoSubscriptionMemory, r.all, r.max)
		}
		if limit := r.max * r.share / 100; mark != "" && r.of[mark]+n > limit {
			return fmt.Errorf("%w: those of the identity take %d of %d bytes, see limits.identity.share",
				errNoSubscriptionMemory, r.of[mark], limit)
		}
	}
	r.add(mark, n)
	return nil
}

// give returns memory.
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

// Memory is memory of the node that is given back once nothing refers to the Memory any more: a will may outlive its connection and its
// session in many ways.
type Memory struct {
	bytes int64
	mark  string
}

// hold is take for memory that is given back by itself.
func (r *subscriptionRoom) hold(mark string, n int64, always bool) (*Memory, error) {
	if err := r.take(mark, n, always); err != nil {
		return nil, err
	}
	h := &Memory{n, mark}
	runtime.AddCleanup(h, func(of Memory) { r.give(of.mark, of.bytes) }, *h)
	return h, nil
}

// size returns the bytes held.
func (h *Memory) size() int64 {
	if h == nil {
		return 0
	}
	return h.bytes
}

// freeOfConnect is how much a CONNECT may leave in memory without being counted, in bytes. It is less than a connection takes anyway.
const freeOfConnect = 1 << 10

// ErrNoMemory says that there is no memory for what a CONNECT leaves behind.
var ErrNoMemory = errors.New("there is no memory for the will, the client id and the user name")

// holdConnect takes the memory for what a CONNECT leaves behind. A client that comes back needs no more than it has. old is its session if
// it is in memory.
func (m *Manager) holdConnect(r *Request, old *Session) error {
	n := r.Bytes - freeOfConnect
	if n <= 0 {
		return nil
	}
	have := int64(0)
	if old != nil {
		old.mu.Lock()
		have = old.memory.size()
		old.mu.Unlock()
	}
	m.mu.Lock()
	if w := m.wills[r.ClientID]; w != nil {
		have = max(have, w.will.memory.size())
	}
	m.mu.Unlock()
	var err error
	if r.memory, err = m.room.hold(r.Owner.Mark(), n, n <= have); err != nil {
		return fmt.Errorf("%w: %w", ErrNoMemory, err)
	}
	if r.Will != nil {
		r.Will.memory = r.memory
	}
	return nil
}

// Hold takes memory of the node on behalf of the session's client. An error says why there is none.
func (s *Session) Hold(bytes int64) (*Memory, error) {
	return s.m.room.hold(s.Owner().Mark(), bytes, false)
}

// used returns the memory in use and its bound, in bytes; bound 0: none.
func (r *subscriptionRoom) used() (n, limit int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all, r.max
}

// SubscriptionMemory returns approximately the memory that the subscriptions of the node's clients use, and its bound, in bytes; bound 0:
// none.
func (m *Manager) SubscriptionMemory() (used, limit int64) { return m.room.used() }

// takeMemory takes the memory for a new subscription, or returns why the client may have no more. subs and keys are the client's counts of
// subscriptions and of keys in the metadata. Called with mu held.
func (s *Session) takeMemory(sub *subscription, subs, keys int) error {
	most, mostKeys := s.m.maxSubscriptions()
	switch {
	case subs >= most:
		return fmt.Errorf("%w: limits.client.subscriptions allows %d", errTooManySubscriptions, most)
	case keys >= mostKeys && (s.durable() || sub.shared()):
		return fmt.Errorf("%w: limits.client.share of the metadata's keys allows %d durable and shared ones; "+
			"raise it, or move the metadata to a larger backend with lmqgate meta migrate", errTooManySubscriptions, mostKeys)
	case s.m.o.Short != nil && s.m.o.Short():
		return fmt.Errorf("%w: the gateway is short of memory", errNoSubscriptionMemory)
	}
	if err := s.m.room.take(s.mark, sub.cost(), false); err != nil {
		return err
	}
	sub.counted, sub.mark = true, s.mark
	return nil
}

// keys returns how many of the session's subscriptions take a key of the metadata. Called with mu held.
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

// countMemory counts an existing subscription unless it is counted already. Called with mu held.
func (s *Session) countMemory(sub *subscription) {
	if sub.counted || s.conn == nil {
		return
	}
	_ = s.m.room.take(s.mark, sub.cost(), true)
	sub.counted, sub.mark = true, s.mark
}

// giveMemory gives back the memory of a subscription that ends or leaves the node's memory. Called with mu held.
func (s *Session) giveMemory(sub *subscription) {
	if sub.counted {
		s.m.room.give(sub.mark, sub.cost())
		sub.counted = false
	}
}
