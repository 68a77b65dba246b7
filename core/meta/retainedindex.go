package meta

import (
	"strings"

	"github.com/lmqgate/lmqgate/core/topic"
)

// retainedIndex finds retained messages by topic and by filter: it has a tree with a node for each level, and a map for exact topics.
// Point-to-point messages to one client are not in the tree, because no filter matches them, but in a map by client. The zero value is
// empty. It has no lock of its own.
type retainedIndex struct {
	exact map[string]*Retained
	root  retainedNode
	p2p   map[string]map[string]*Retained // by client id and topic
	bytes int64                           // approximate memory of everything, in bytes
}

type retainedNode struct {
	value    *Retained
	children map[string]*retainedNode
}

func (x *retainedIndex) len() int { return len(x.exact) }

func (x *retainedIndex) get(name string) *Retained { return x.exact[name] }

func (x *retainedIndex) set(name string, v *Retained) {
	if x.exact == nil {
		x.exact = map[string]*Retained{}
	}
	x.bytes += v.cost() - x.exact[name].cost()
	x.exact[name] = v
	if client, ok := topic.P2PTarget(name); ok {
		if x.p2p == nil {
			x.p2p = map[string]map[string]*Retained{}
		}
		if x.p2p[client] == nil {
			x.p2p[client] = map[string]*Retained{}
		}
		x.p2p[client][name] = v
		return
	}
	n := &x.root
	for level := range strings.SplitSeq(name, "/") {
		next := n.children[level]
		if next == nil {
			if n.children == nil {
				n.children = map[string]*retainedNode{}
			}
			next = &retainedNode{}
			n.children[level] = next
		}
		n = next
	}
	n.value = v
}

func (x *retainedIndex) remove(name string) {
	v, ok := x.exact[name]
	if !ok {
		return
	}
	x.bytes -= v.cost()
	delete(x.exact, name)
	if client, ok := topic.P2PTarget(name); ok {
		delete(x.p2p[client], name)
		if len(x.p2p[client]) == 0 {
			delete(x.p2p, client)
		}
		return
	}
	x.root.remove(strings.Split(name, "/"))
}

// remove removes a topic below the node, and reports whether the node became empty.
func (n *retainedNode) remove(levels []string) bool {
	if len(levels) == 0 {
		n.value = nil
	} else if c := n.children[levels[0]]; c != nil && c.remove(levels[1:]) {
		delete(n.children, levels[0])
	}
	return n.value == nil && len(n.children) == 0
}

func (x *retainedIndex) each(f func(*Retained)) {
	for _, v := range x.exact {
		f(v)
	}
}

// find returns the messages of the topics that match a filter.
func (x *retainedIndex) find(filter string) []*Retained {
	if topic.IsWildcard(filter) {
		return x.match(filter)
	}
	if _, p2p := topic.P2PTarget(filter); p2p {
		return nil
	}
	if v := x.get(filter); v != nil {
		return []*Retained{v}
	}
	return nil
}

// to returns the point-to-point messages to one client.
func (x *retainedIndex) to(client string) []*Retained {
	found := make([]*Retained, 0, len(x.p2p[client]))
	for _, v := range x.p2p[client] {
		found = append(found, v)
	}
	return found
}

// match returns the messages whose topic matches a filter (MQTT 3.1.1, 4.7): "#" includes the parent level, and a wildcard in the first
// level does not match topics that begin with "$".
func (x *retainedIndex) match(filter string) []*Retained {
	var found []*Retained
	x.root.match(strings.Split(filter, "/"), true, &found)
	return found
}

func (n *retainedNode) match(levels []string, first bool, found *[]*Retained) {
	if len(levels) == 0 {
		if n.value != nil {
			*found = append(*found, n.value)
		}
		return
	}
	switch level := levels[0]; level {
	case "#":
		n.all(first, found)
	case "+":
		for name, c := range n.children {
			if !first || !strings.HasPrefix(name, "$") {
				c.match(levels[1:], false, found)
			}
		}
	default:
		if c := n.children[level]; c != nil {
			c.match(levels[1:], false, found)
		}
	}
}

// all collects the node and everything below it.
func (n *retainedNode) all(first bool, found *[]*Retained) {
	if n.value != nil {
		*found = append(*found, n.value)
	}
	for name, c := range n.children {
		if !first || !strings.HasPrefix(name, "$") {
			c.all(false, found)
		}
	}
}
