package mqtt

import (
	"slices"
	"sync"
	"time"
)

// Event is something that happened to a client, for operators.
type Event struct {
	Time time.Time
	// Kind is "disconnected" or "refused".
	Kind                           string
	ClientID, Username, RemoteAddr string
	// Reason is one of a bounded number, Cause says more.
	Reason, Cause string
}

// maxRecent is how many events a node remembers, and maxRecentText how much of each text, in bytes.
const (
	maxRecent     = 256
	maxRecentText = 128
)

// recent remembers the last events.
type recent struct {
	mu     sync.Mutex
	events []Event // a ring, once it is full
	next   int
}

func (r *recent) add(e Event) {
	for _, text := range []*string{&e.ClientID, &e.Username, &e.RemoteAddr, &e.Cause} {
		if len(*text) > maxRecentText {
			*text = (*text)[:maxRecentText] + "…"
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) < maxRecent {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % maxRecent
}

// list returns the events, the last first.
func (r *recent) list() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := append(slices.Clone(r.events[r.next:]), r.events[:r.next]...)
	slices.Reverse(out)
	return out
}

// Recent returns the last refusals and disconnections on this node, the last first.
func (s *Server) Recent() []Event { return s.recent.list() }
