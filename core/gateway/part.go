package gateway

import (
	"encoding/json"
	"slices"
	"strings"
)

// firstOf keeps the first n items by key, in whatever order they are added.
type firstOf[T any] struct {
	n    int
	key  func(T) string
	list []T // sorted; it holds n+1 items if there are more than n
}

// add adds an item unless more than n items precede it.
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

// part returns the items, and the key after which the list continues.
func (f *firstOf[T]) part() part[T] {
	if f.n < 1 || len(f.list) <= f.n {
		return part[T]{Items: f.list, key: f.key}
	}
	return part[T]{Items: f.list[:f.n], Next: f.key(f.list[f.n-1]), key: f.key}
}

// part is one node's part of a page: all of its items from the beginning of the page up to Next, or to the end if Next is empty.
type part[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
	key   func(T) string
}

// rawPart is an encoded part, for another node.
type rawPart struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next,omitempty"`
}

// partBytes bounds the bytes that a node sends for a page. A larger page ends earlier, and the next one continues there.
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

// endOf returns the key at which a page of several parts ends: beyond it, the items of some node are unknown. Empty: everything is known.
func endOf[T any](parts []part[T]) (end string) {
	for _, p := range parts {
		if p.Next != "" && (end == "" || p.Next < end) {
			end = p.Next
		}
	}
	return end
}

// within reports whether a key lies before or at the end of a page.
func within(key, end string) bool { return end == "" || key <= end }
