package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/topic"
)

// Bounds of watches.
const (
	// MaxWatches bounds the concurrent watches of a node.
	MaxWatches = 8
	// maxOfViewers bounds those that viewers began, so that administrators find room however many viewers watch.
	maxOfViewers = 4
	// Held bounds the pending events of a watch; further ones are dropped and counted.
	Held = 1024
	// maxText bounds each text of an event, in bytes.
	maxText = 256
)

// Entry is one event.
type Entry struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// What is "in" or "out" for a packet, "connected", "disconnected", "refused", "stored", or "left out".
	What     string `json:"what" enum:"in,out,connected,disconnected,refused,stored,left out" doc:"in and out: a packet. left out: events that came faster than they were taken."`
	ClientID string `json:"client_id,omitempty"`
	Address  string `json:"remote_address,omitempty"`
	Packet   string `json:"packet,omitempty" doc:"Type of the packet."`
	PacketID uint16 `json:"packet_id,omitempty"`
	Topic    string `json:"topic,omitempty" doc:"Of PUBLISH; of SUBSCRIBE and UNSUBSCRIBE the filters."`
	QoS      byte   `json:"qos,omitempty"`
	Retain   bool   `json:"retain,omitempty"`
	Dup      bool   `json:"dup,omitempty"`
	Size     int    `json:"size,omitempty" doc:"Bytes of the payload."`
	Reason   string `json:"reason,omitempty"`
	// Took is the time from PUBLISH to the store's confirmation.
	Took float64 `json:"took_seconds,omitempty" doc:"From PUBLISH to the store's confirmation."`
	// LeftOut is how many events are missing before this one.
	LeftOut int `json:"left_out,omitempty" doc:"How many are missing."`

	// Topics are the topic name, or the filters, that a Match compares. They are not kept.
	Topics []string `json:"-"`
}

// Match selects events. Empty fields match everything; all others must match, and at least one must be set.
type Match struct {
	ClientID string `json:"client_id,omitempty"`
	// Topic is a topic filter. It matches messages to such topics, and subscriptions to it or within it.
	Topic string `json:"topic,omitempty"`
	// Address is an address or a network.
	Address string `json:"address,omitempty"`
}

// matcher is a validated Match.
type matcher struct {
	Match
	network netip.Prefix
}

// Errors of Watch.
var (
	// ErrInvalid means that a Match is empty or invalid.
	ErrInvalid = errors.New("invalid trace")
	// ErrTooMany means that there are as many watches already as there may be.
	ErrTooMany = errors.New("too many traces")
)

func (m Match) check() (matcher, error) {
	out := matcher{Match: m}
	if m == (Match{}) {
		return out, fmt.Errorf("%w: name a client id, a topic filter, or an address", ErrInvalid)
	}
	if m.Topic != "" {
		if err := topic.ValidateFilter(m.Topic); err != nil {
			return out, fmt.Errorf("%w: topic %q: %w", ErrInvalid, m.Topic, err)
		}
	}
	if m.Address == "" {
		return out, nil
	}
	if a, err := netip.ParseAddr(m.Address); err == nil {
		out.network = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return out, nil
	}
	p, err := netip.ParsePrefix(m.Address)
	if err != nil {
		return out, fmt.Errorf("%w: %q is no address such as 192.0.2.1, and no network such as 192.0.2.0/24", ErrInvalid, m.Address)
	}
	out.network = p.Masked()
	return out, nil
}

func (m *matcher) matches(e *Entry) bool {
	if m.ClientID != "" && m.ClientID != e.ClientID {
		return false
	}
	if m.Topic != "" && !slices.ContainsFunc(e.Topics, func(name string) bool { return name == m.Topic || topic.Match(m.Topic, name) }) {
		return false
	}
	if m.Address == "" {
		return true
	}
	at, err := netip.ParseAddrPort(e.Address)
	return err == nil && m.network.Contains(at.Addr().Unmap())
}

// Tracer passes events to watches. A nil Tracer has no watches.
type Tracer struct {
	node    string
	watches atomic.Pointer[[]*Watch]
	mu      sync.Mutex // held while watches changes
}

// New makes a Tracer for a node.
func New(node string) *Tracer { return &Tracer{node: node} }

// On reports whether there is a watch. Callers build an Entry only if it returns true.
func (t *Tracer) On() bool { return t != nil && t.watches.Load() != nil }

// Add passes an event to the watches that match it.
func (t *Tracer) Add(e Entry) {
	if t == nil {
		return
	}
	all := t.watches.Load()
	if all == nil {
		return
	}
	var shown *Entry
	for _, w := range *all {
		if !w.match.matches(&e) {
			continue
		}
		if shown == nil {
			shown = t.shown(e)
		}
		w.add(*shown)
	}
}

// shown returns an event in the form in which it is kept.
func (t *Tracer) shown(e Entry) *Entry {
	e.Time, e.Node = time.Now(), t.node
	if e.Topic == "" {
		e.Topic = strings.Join(e.Topics, " ")
	}
	for _, text := range []*string{&e.ClientID, &e.Address, &e.Topic, &e.Reason} {
		*text = clip(*text)
	}
	e.Topics = nil
	return &e
}

// clip shortens a text, and copies it, because it may share memory with a payload.
func clip(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.Clone(s)
}

// Watch is a subscription to events.
type Watch struct {
	t      *Tracer
	match  matcher
	viewer bool
	more   chan struct{}

	mu     sync.Mutex
	events []Entry
	left   int
}

// Watch starts a watch, for a viewer or an administrator. It lasts until Close.
func (t *Tracer) Watch(m Match, viewer bool) (*Watch, error) {
	checked, err := m.check()
	if err != nil {
		return nil, err
	}
	w := &Watch{t: t, match: checked, viewer: viewer, more: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*Watch
	if now := t.watches.Load(); now != nil {
		all = *now
	}
	if len(all) >= MaxWatches {
		return nil, fmt.Errorf("%w: %d are under way on this node, which is the most", ErrTooMany, len(all))
	}
	if viewer {
		of := 0
		for _, w := range all {
			if w.viewer {
				of++
			}
		}
		if of >= maxOfViewers {
			return nil, fmt.Errorf("%w: %d of viewers are under way on this node, which is the most; the others are for administrators", ErrTooMany, of)
		}
	}
	all = append(slices.Clone(all), w)
	t.watches.Store(&all)
	return w, nil
}

// Close ends the watch. It is idempotent.
func (w *Watch) Close() {
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.watches.Load()
	if now == nil {
		return
	}
	all := slices.DeleteFunc(slices.Clone(*now), func(other *Watch) bool { return other == w })
	if len(all) == 0 {
		t.watches.Store(nil)
		return
	}
	t.watches.Store(&all)
}

func (w *Watch) add(e Entry) {
	w.mu.Lock()
	if len(w.events) < Held {
		w.events = append(w.events, e)
	} else {
		w.left++
	}
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// More returns a channel that has an element when events are pending.
func (w *Watch) More() <-chan struct{} { return w.more }

// Take returns the pending events, in order. If events were dropped, the last entry says so.
func (w *Watch) Take() []Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.events
	if w.left > 0 {
		out = append(out, Entry{Time: time.Now(), Node: w.t.node, What: LeftOut, LeftOut: w.left})
	}
	w.events, w.left = nil, 0
	return out
}

// Values of Entry.What.
const (
	In           = "in"
	Out          = "out"
	Connected    = "connected"
	Disconnected = "disconnected"
	Refused      = "refused"
	Stored       = "stored"
	LeftOut      = "left out"
)
