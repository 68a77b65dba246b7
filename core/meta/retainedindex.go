package meta

import "strings"

// retainedIndex finds retained messages by topic and by filter: a tree with a node for each level, and a map for the exact
// topic. The zero value is empty. It has no lock of its own.
type retainedIndex struct {
	exact map[string]*Retained
	root  retainedNode
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
	x.exact[name] = v
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
	if _, ok := x.exact[name]; !ok {
		return
	}
	delete(x.exact, name)
	x.root.remove(strings.Split(name, "/"))
}

// remove reports whether the node became empty.
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

// match returns the messages whose topic matches a filter (MQTT 3.1.1, 4.7): "#" takes the parent level as well, and a wildcard
// in the first level takes no topic that begins with "$".
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

// all takes the node and everything below it.
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
