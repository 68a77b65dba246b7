package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// sentValues remembers, after a SUBSCRIBE that asked for retained messages, the newest value of each topic that the session has sent,
// whichever way the value came. It is needed only for the short time in which tails still bring records older than the subscription. The
// zero value remembers nothing. Guarded by Session.mu.
type sentValues struct {
	of    map[string]store.Position // by topic
	until time.Time                 // zero: nothing is remembered
}

const (
	// sentFor is how long after a SUBSCRIBE, or after its queues have waited for the tail, the tail may bring what was acknowledged before
	// the SUBSCRIBE. sentMost bounds the topics remembered: values of further topics that a tail brings are sent only while they are the
	// newest.
	sentFor  = 10 * time.Second
	sentMost = 256
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

// sent records that the value at a position was sent, unless a newer one of its topic was sent before.
func (v *sentValues) sent(name string, at store.Position) {
	if v.over() {
		return
	}
	last, known := v.of[name]
	if known && !last.Before(at) || !known && len(v.of) >= sentMost {
		return
	}
	if v.of == nil {
		v.of = make(map[string]store.Position)
	}
	v.of[name] = at
}

// live records a record sent live.
func (v *sentValues) live(rec *store.Record) {
	if rec.Retain {
		v.sent(rec.Topic, rec.Position)
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
