package gateway

import (
	"encoding/json"
	"slices"
	"strings"
)

// firstOf keeps the first n of a list by key, whatever the order in which they come.
type firstOf[T any] struct {
	n    int
	key  func(T) string
	list []T // sorted; one more than n where there are more
}

// add adds an item, unless n others come before it.
func (f *firstOf[T]) add(item T) {
	at, _ := slices.BinarySearchFunc(f.list, f.key(item), func(have T, key string) int { return strings.Compare(f.key(have), key) })
	if at > f.n {
		return
	}
	f.list = slices.Insert(f.list, at, item)
	if len(f.list) > f.n+1 {
		f.list = f.list[:f.n+1]
	}
}

// part returns the items, and the key after which the list goes on.
func (f *firstOf[T]) part() part[T] {
	if f.n < 1 || len(f.list) <= f.n {
		return part[T]{Items: f.list, key: f.key}
	}
	return part[T]{Items: f.list[:f.n], Next: f.key(f.list[f.n-1]), key: f.key}
}

// part is one node's part of a page: all that it has from the page's beginning to Next, or to the end where that is empty.
type part[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
	key   func(T) string
}

// rawPart is a part on its way to another node.
type rawPart struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next,omitempty"`
}

// partBytes bounds what a node sends of a page. The page ends earlier then, and the next one goes on there.
const partBytes = 2 << 20

// raw encodes a part for another node.
func (p part[T]) raw() (rawPart, error) {
	out := rawPart{Items: make([]json.RawMessage, 0, len(p.Items)), Next: p.Next}
	size := 0
	for i, item := range p.Items {
		b, err := json.Marshal(item)
		if err != nil {
			return out, err
		}
		if size += len(b); size > partBytes && i > 0 {
			out.Next = p.key(p.Items[i-1])
			break
		}
		out.Items = append(out.Items, b)
	}
	return out, nil
}

// endOf is where a page ends that is made of parts: nothing is known behind it of some node. Empty: all is known.
func endOf[T any](parts []part[T]) (end string) {
	for _, p := range parts {
		if p.Next != "" && (end == "" || p.Next < end) {
			end = p.Next
		}
	}
	return end
}

// within reports whether a key comes before the end of a page.
func within(key, end string) bool { return end == "" || key <= end }
