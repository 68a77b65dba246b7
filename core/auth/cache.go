package auth

import (
	"strings"
	"sync"
)

// cacheTopics bounds the decisions that are kept for one client.
const cacheTopics = 64

// anyQoS marks a decision that holds for every QoS and retain flag.
const anyQoS = 0xFF

// cacheKey is what a decision is about. A subscription within a shared group is another question than one without.
type cacheKey struct {
	topic, group string
	kind         ActionKind
	// qos holds QoS and retain for decisions that depend on them, anyQoS for all others.
	qos uint8
}

func keyOf(a Action, exact bool) cacheKey {
	k := cacheKey{topic: a.Topic, group: a.ShareGroup, kind: a.Kind, qos: anyQoS}
	if exact {
		k.qos = a.QoS & 3
		if a.Retain {
			k.qos |= 4
		}
	}
	return k
}

// cached is one decision. expires is on the Auth's monotonic clock, in nanoseconds.
type cached struct {
	expires int64
	allow   bool
}

// cache holds the decisions about one client. An idle connection that never asked has no map.
type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cached
	// exact counts the entries whose key holds a QoS, so that the common lookup is one.
	exact int
	// epoch is that of the revocations under which the entries were decided.
	epoch uint64
}

// get finds the decision for an action. Decisions of an earlier epoch are dropped.
func (c *cache) get(a Action, epoch uint64) (d cached, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		return cached{}, false
	}
	if c.epoch != epoch {
		c.entries, c.exact = nil, 0
		return cached{}, false
	}
	if d, found = c.entries[keyOf(a, false)]; !found && c.exact > 0 {
		d, found = c.entries[keyOf(a, true)]
	}
	return d, found
}

// put keeps a decision that was asked for under an epoch. When the cache is full, expired decisions go, or else any one.
func (c *cache) put(a Action, exact bool, d cached, epoch uint64, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch && c.entries != nil {
		if epoch < c.epoch {
			return // decided before a revocation that has been seen since
		}
		c.entries, c.exact = nil, 0
	}
	if c.entries == nil {
		c.entries = make(map[cacheKey]cached, 1)
	}
	c.epoch = epoch
	k := keyOf(a, exact)
	if _, there := c.entries[k]; !there {
		if len(c.entries) >= cacheTopics {
			c.evict(now)
		}
		// The strings may be views of a packet's buffer.
		k.topic, k.group = strings.Clone(k.topic), strings.Clone(k.group)
		if exact {
			c.exact++
		}
	}
	c.entries[k] = d
}

// evict makes room for at least one decision.
func (c *cache) evict(now int64) {
	for k, d := range c.entries {
		if d.expires+int64(StaleAllowance) < now {
			c.remove(k)
		}
	}
	for k := range c.entries { // in random order
		if len(c.entries) < cacheTopics {
			return
		}
		c.remove(k)
	}
}

func (c *cache) remove(k cacheKey) {
	delete(c.entries, k)
	if k.qos != anyQoS {
		c.exact--
	}
}
