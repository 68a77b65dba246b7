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
	// Packet is what was refused: CONNECT, PUBLISH or SUBSCRIBE. Topic is that of the message, or the filter.
	Packet, Topic string
	// Reason is from a bounded set; Cause gives details.
	Reason, Cause string
}

// maxRecent is how many events a node remembers of connections, and how many of messages and subscriptions; maxRecentText bounds each text
// of an event, in bytes. Refusals of messages and subscriptions of one connection are remembered once in refusalPause.
const (
	maxRecent     = 256
	maxRecentText = 128
	refusalPause  = time.Second
)

// recent remembers the latest events.
type recent struct {
	mu     sync.Mutex
	events []Event // a ring buffer once it is full
	next   int
}

func (r *recent) add(e Event) {
	for _, text := range []*string{&e.ClientID, &e.Username, &e.RemoteAddr, &e.Topic, &e.Cause} {
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

// list returns the events, latest first.
func (r *recent) list() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := append(slices.Clone(r.events[r.next:]), r.events[:r.next]...)
	slices.Reverse(out)
	return out
}

// Recent returns the latest refusals and disconnections on this node, latest first.
func (s *Server) Recent() []Event {
	all := append(s.recent.list(), s.refusals.list()...)
	slices.SortStableFunc(all, func(a, b Event) int { return b.Time.Compare(a.Time) })
	return all
}
