package catalog

import (
	"strings"
	"sync"
	"time"
)

// refused is a negative cache of topic names that the store does not have, so that a client that keeps using one costs the store nothing.
// Clients choose the names, so the cache is bounded by count and bytes, and evicts the oldest name first.
type refused struct {
	mu    sync.Mutex
	names map[string]*refusal
	// queue holds the refusals, oldest first. An entry is void if names has a newer one for its name.
	queue []*refusal
	bytes int
}

type refusal struct {
	name  string
	err   error
	size  int
	until time.Time
}

const (
	// refusedFor is the lifetime of an entry. It is short, because another node may create the topic.
	refusedFor = 2 * time.Second
	// maxRefused and maxRefusedBytes bound the negative cache.
	maxRefused      = 4096
	maxRefusedBytes = 1 << 20
	// refusalOverhead is about what an entry costs, in bytes, besides the texts of its name and error.
	refusalOverhead = 160
)

// get returns the cached error of a name, or nil.
func (r *refused) get(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.names[name]
	if f == nil || !time.Now().Before(f.until) {
		return nil
	}
	return f.err
}

// add caches the refusal of a name.
func (r *refused) add(name string, err error) {
	f := &refusal{
		name:  strings.Clone(name),
		err:   err,
		size:  refusalOverhead + len(name) + len(err.Error()),
		until: time.Now().Add(refusedFor),
	}
	if f.size > maxRefusedBytes {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		r.names = make(map[string]*refusal)
	}
	r.names[f.name] = f
	r.queue = append(r.queue, f)
	r.bytes += f.size
	now := time.Now()
	for len(r.queue) > maxRefused || r.bytes > maxRefusedBytes || !now.Before(r.queue[0].until) {
		r.dropOldest()
	}
}

// dropOldest evicts the oldest refusal. Called with mu held.
func (r *refused) dropOldest() {
	f := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	r.bytes -= f.size
	if r.names[f.name] == f {
		delete(r.names, f.name)
	}
}

// clear drops every refusal.
func (r *refused) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names, r.queue, r.bytes = nil, nil, 0
}
