package main

import "sync"

// horizon detects that etcd was restored from a backup or replaced. Its revisions then restart below the highest revision seen, and a watch
// would wait for a revision number to be used a second time, and miss the changes before it.
type horizon struct {
	mu      sync.Mutex
	highest int64
	gone    chan struct{} // closed and replaced when revisions went back
}

func newHorizon() *horizon { return &horizon{gone: make(chan struct{})} }

// seen returns the highest revision so far. The answer to a linearizable read that starts later cannot be below it.
func (h *horizon) seen() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest
}

// answered records the revision of a linearizable answer; before is the result of seen from before the request.
func (h *horizon) answered(before, revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision < before {
		h.highest = revision
		close(h.gone)
		h.gone = make(chan struct{})
		return
	}
	h.highest = max(h.highest, revision)
}

// lost is closed when revisions go back.
func (h *horizon) lost() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}
