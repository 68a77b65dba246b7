package session

import (
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// sentValues remembers, after a SUBSCRIBE that asked for retained messages, the newest value of each topic that the session has sent,
// whichever way the value came. It is needed only for the short time in which tails still bring records older than the subscription. The
// zero value remembers nothing. Guarded by Session.mu.
type sentValues struct {
	of    map[string]store.Position // by topic
	bytes int                       // of the topics
	until time.Time                 // zero: nothing is remembered
}

const (
	// sentFor is how long after a SUBSCRIBE, or after its queues have waited for the tail, the tail may bring what was acknowledged before
	// the SUBSCRIBE. sentMost and sentBytes bound the topics remembered: values of further topics that a tail brings are sent only while
	// they are the newest.
	sentFor   = 10 * time.Second
	sentMost  = 256
	sentBytes = 32 << 10
)

// begin starts remembering, or goes on.
func (v *sentValues) begin() { v.until = time.Now().Add(sentFor) }

// over reports whether nothing is remembered. It forgets everything once sentFor has passed.
func (v *sentValues) over() bool {
	if !v.until.IsZero() && time.Now().After(v.until) {
		*v = sentValues{}
	}
	return v.until.IsZero()
}

// sent records that the value at a position was sent, unless a newer one of its topic was sent before. It reports whether this is the first
// that is remembered.
func (v *sentValues) sent(name string, at store.Position) (first bool) {
	if v.over() {
		return false
	}
	last, known := v.of[name]
	switch {
	case known && last.Before(at):
		v.of[name] = at
	case !known && len(v.of) < sentMost && v.bytes+len(name) <= sentBytes:
		if first = v.of == nil; first {
			v.of = make(map[string]store.Position)
		}
		v.of[strings.Clone(name)] = at // clone: the topic shares memory with the payload
		v.bytes += len(name)
	}
	return first
}

// sentValue remembers a value that was sent, until no tail can bring an older one. Called with mu held.
func (s *Session) sentValue(name string, at store.Position) {
	if s.sent.sent(name, at) {
		time.AfterFunc(sentFor, s.forgetSent)
	}
}

// forgetSent gives back the memory of the values that were sent, once they are over.
func (s *Session) forgetSent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sent.over() && s.sent.of != nil {
		time.AfterFunc(time.Until(s.sent.until)+time.Millisecond, s.forgetSent)
	}
}

// follows reports whether the last value sent for a topic is known and older than at.
func (v *sentValues) follows(name string, at store.Position) bool {
	last, known := v.last(name)
	return known && last.Before(at)
}

// passed reports whether a value newer than at is known to have been sent for a topic.
func (v *sentValues) passed(name string, at store.Position) bool {
	last, known := v.last(name)
	return known && at.Before(last)
}

func (v *sentValues) last(name string) (store.Position, bool) {
	if v.over() {
		return store.Position{}, false
	}
	last, known := v.of[name]
	return last, known
}
