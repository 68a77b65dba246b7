package topic

import (
	"strings"
	"sync"
)

// Trie maps filters to values and finds the values of all filters that match a name. The cost of Match grows with the levels of the name
// and the number of matches, not with the number of filters.
//
// It is safe for concurrent use: Match and Len hold its lock shared, Add and Remove exclusively.
type Trie[V comparable] struct {
	mu   sync.RWMutex
	root node[V]
	size int
}

// node is one level of the filters. Its maps exist only where they are needed: most nodes have one child or none.
type node[V comparable] struct {
	children map[string]*node[V]
	plus     *node[V]
	values   set[V] // of filters that end here
	hash     set[V] // of filters that end with "#" below here
}

// NewTrie returns an empty trie.
func NewTrie[V comparable]() *Trie[V] { return &Trie[V]{} }

// Add adds v to a filter and reports whether it was not there before. The filter must be valid.
func (t *Trie[V]) Add(filter string, v V) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.root
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = cut(rest)
		switch level {
		case "#":
			return t.count(n.hash.add(v), 1)
		case "+":
			if n.plus == nil {
				n.plus = &node[V]{}
			}
			n = n.plus
		default:
			child := n.children[level]
			if child == nil {
				child = &node[V]{}
				if n.children == nil {
					n.children = make(map[string]*node[V], 1)
				}
				n.children[strings.Clone(level)] = child // the caller's filter may be part of a larger buffer
			}
			n = child
		}
	}
	return t.count(n.values.add(v), 1)
}

// Remove removes v from a filter and reports whether it was there.
func (t *Trie[V]) Remove(filter string, v V) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count(t.root.remove(filter, true, v), -1)
}

// Match calls fn for every value of every filter that matches name, as Match (the function) does. A value that was added
// to several matching filters is reported for each. fn must not call the trie's methods. Match itself allocates nothing.
func (t *Trie[V]) Match(name string, fn func(V)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !strings.HasPrefix(name, "$") {
		t.root.match(name, true, fn)
		return
	}
	level, rest, more := cut(name) // root wildcards do not see "$"-names
	if child := t.root.children[level]; child != nil {
		child.match(rest, more, fn)
	}
}

// Len returns the number of pairs of a filter and a value.
func (t *Trie[V]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

func (t *Trie[V]) count(changed bool, by int) bool {
	if changed {
		t.size += by
	}
	return changed
}

// match reports the values of filters below n for the levels in rest; more is false when no level is left.
func (n *node[V]) match(rest string, more bool, fn func(V)) {
	n.hash.each(fn)
	if !more {
		n.values.each(fn)
		return
	}
	level, rest, more := cut(rest)
	if child := n.children[level]; child != nil {
		child.match(rest, more, fn)
	}
	if n.plus != nil {
		n.plus.match(rest, more, fn)
	}
}

// remove removes v below n and cuts off branches that became empty.
func (n *node[V]) remove(rest string, more bool, v V) bool {
	if !more {
		return n.values.remove(v)
	}
	level, rest, more := cut(rest)
	switch level {
	case "#":
		return n.hash.remove(v)
	case "+":
		if n.plus == nil || !n.plus.remove(rest, more, v) {
			return false
		}
		if n.plus.empty() {
			n.plus = nil
		}
	default:
		child := n.children[level]
		if child == nil || !child.remove(rest, more, v) {
			return false
		}
		if child.empty() {
			delete(n.children, level)
			if len(n.children) == 0 {
				n.children = nil
			}
		}
	}
	return true
}

func (n *node[V]) empty() bool {
	return len(n.children) == 0 && n.plus == nil && n.values.len() == 0 && n.hash.len() == 0
}
