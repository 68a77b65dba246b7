package auth

import (
	"strings"
	"sync"
)

// cacheTopics bounds the cached decisions of one client, and cacheBytes the topics and groups in them, in bytes.
const (
	cacheTopics = 64
	cacheBytes  = 8 << 10
)

// anyQoS marks a decision that holds for every QoS and retain flag.
const anyQoS = 0xFF

// cacheKey identifies a decision. A subscription in a shared group and one without a group are different keys.
type cacheKey struct {
	topic, group string
	kind         ActionKind
	// qos encodes QoS and retain for decisions that depend on them; it is anyQoS for all others.
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

func (k cacheKey) bytes() int { return len(k.topic) + len(k.group) }

// cached is one decision. expires is on the Auth's monotonic clock, in nanoseconds.
type cached struct {
	expires int64
	allow   bool
}

// cache holds the decisions about one client. The map is created on first use, so an idle connection has none.
type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cached
	// exact counts the entries whose key has a QoS; while it is 0, one lookup is enough.
	exact int
	// bytes is the size of the topics and groups.
	bytes int
	// rights are what the plugin stated with the admission, and valid until rightsUntil. Entries go before them.
	rights      []right
	rightsUntil int64
	// epoch is the revocation epoch in which the entries and the rights were decided.
	epoch uint64
}

// empty reports whether nothing is cached.
func (c *cache) empty() bool { return c.entries == nil && c.rights == nil }

// reset drops everything.
func (c *cache) reset() { c.entries, c.exact, c.bytes, c.rights = nil, 0, 0, nil }

// begin stores the rights of a client that has just been admitted.
func (c *cache) begin(rights []right, until int64, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rights, c.rightsUntil, c.epoch = rights, until, epoch
}

// answered drops rights that have expired, now that the plugin has been asked instead.
func (c *cache) answered(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now >= c.rightsUntil {
		c.rights = nil
	}
}

// get finds the decision for an action. Decisions of an earlier epoch are dropped.
func (c *cache) get(a Action, epoch uint64) (d cached, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.empty() {
		return cached{}, false
	}
	if c.epoch != epoch {
		c.reset()
		return cached{}, false
	}
	if d, found = c.entries[keyOf(a, false)]; !found && c.exact > 0 {
		d, found = c.entries[keyOf(a, true)]
	}
	if !found && allows(c.rights, a) {
		d, found = cached{expires: c.rightsUntil, allow: true}, true
	}
	return d, found
}

// put stores a decision that was requested in an epoch. If the cache is full, it evicts expired decisions or, if there are none, a random
// one.
func (c *cache) put(a Action, exact bool, d cached, epoch uint64, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch && !c.empty() {
		if epoch < c.epoch {
			return // decided before a revocation that has arrived since
		}
		c.reset()
	}
	if c.entries == nil {
		c.entries = make(map[cacheKey]cached, 1)
	}
	c.epoch = epoch
	k := keyOf(a, exact)
	if _, there := c.entries[k]; !there {
		if len(c.entries) >= cacheTopics || c.bytes+k.bytes() > cacheBytes {
			c.evict(now, k.bytes())
		}
		c.bytes += k.bytes()
		// The strings may be views of a packet's buffer.
		k.topic, k.group = strings.Clone(k.topic), strings.Clone(k.group)
		if exact {
			c.exact++
		}
	}
	c.entries[k] = d
}

// evict makes room for a decision with topics and groups of so many bytes.
func (c *cache) evict(now int64, bytes int) {
	for k, d := range c.entries {
		if d.expires+int64(StaleAllowance) < now {
			c.remove(k)
		}
	}
	for k := range c.entries { // in random order
		if len(c.entries) < cacheTopics && c.bytes+bytes <= cacheBytes {
			return
		}
		c.remove(k)
	}
}

func (c *cache) remove(k cacheKey) {
	delete(c.entries, k)
	c.bytes -= k.bytes()
	if k.qos != anyQoS {
		c.exact--
	}
}
