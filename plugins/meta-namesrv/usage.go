package main

import (
	"fmt"
	"sync"
)

// Limits. For each put a name server rewrites its whole configuration file, so writes get slower as the data grows; README.md has the
// measurements behind these values.
const (
	maxKeys       = 5000
	maxTotalBytes = 3 << 20
	maxValueBytes = 256 << 10
)

// usage tracks the size of lmqgate's namespaces: the last listing plus the writes since. It misses what other gateways wrote since the last
// listing.
type usage struct {
	mu    sync.Mutex
	sizes map[string]map[string]int // namespace -> encoded key -> bytes of key and value
	keys  int
	bytes int
}

func newUsage() *usage { return &usage{sizes: map[string]map[string]int{}} }

// listed replaces the counts of a namespace by those of a listing.
func (u *usage) listed(ns string, items map[string]item) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range u.sizes[ns] {
		u.keys--
		u.bytes -= n
	}
	sizes := make(map[string]int, len(items))
	for key, it := range items {
		sizes[key] = len(key) + len(it.raw)
		u.keys++
		u.bytes += sizes[key]
	}
	u.sizes[ns] = sizes
}

// room returns an error that says why changes do not fit. Changes that make nothing larger always fit.
func (u *usage) room(changes []change) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	keys, bytes := u.keys, u.bytes
	for _, c := range changes {
		if c.value == nil || c.ns == upstream {
			continue
		}
		had, known := u.sizes[c.ns][c.key]
		if !known {
			keys++
		}
		bytes += len(c.key) + len(*c.value) - had
	}
	switch {
	case keys > u.keys && keys > maxKeys:
		return fmt.Errorf("namesrv's kvconfig holds %d keys of lmqgate, the limit is %d: %s", u.keys, maxKeys, remedy)
	case bytes > u.bytes && bytes > maxTotalBytes:
		return fmt.Errorf("namesrv's kvconfig holds %d bytes of lmqgate, the limit is %d: %s", u.bytes, maxTotalBytes, remedy)
	}
	return nil
}

const remedy = "move the metadata to etcd: put it under meta.next and run `lmqgate meta migrate`"

// wrote counts changes that were written.
func (u *usage) wrote(changes []change) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range changes {
		if c.ns == upstream {
			continue
		}
		if had, known := u.sizes[c.ns][c.key]; known {
			u.keys--
			u.bytes -= had
			delete(u.sizes[c.ns], c.key)
		}
		if c.value == nil {
			continue
		}
		if u.sizes[c.ns] == nil {
			u.sizes[c.ns] = map[string]int{}
		}
		n := len(c.key) + len(*c.value)
		u.sizes[c.ns][c.key] = n
		u.keys++
		u.bytes += n
	}
}
