package main

import "sync"

// horizon detects that etcd was restored from a backup or replaced. Its revisions then restart below the highest one seen, and a
// watch would wait forever for a revision that is used twice.
type horizon struct {
	mu      sync.Mutex
	highest int64
	gone    chan struct{} // closed and replaced when revisions went back
}

func newHorizon() *horizon { return &horizon{gone: make(chan struct{})} }

// seen is the highest revision so far; a linearizable answer to what is asked later is not below it.
func (h *horizon) seen() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest
}

// answered takes the revision of a linearizable answer, and what seen said before the question.
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
