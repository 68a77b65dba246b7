package session

import (
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// sentValues remembers, after a SUBSCRIBE that found something retained, the value of each topic that the session sent last. It is needed
// only for the short time in which tails still bring records older than the subscription. The zero value remembers nothing. Guarded by
// Session.mu.
type sentValues struct {
	of    []sentValue
	until time.Time // zero: nothing is remembered
}

type sentValue struct {
	topic string
	at    store.Position
}

const (
	// sentFor is how long after a SUBSCRIBE a tail may bring what was acknowledged before it. sentMost bounds the topics remembered: values
	// of further topics that a tail brings are sent only while they are the newest.
	sentFor  = 10 * time.Second
	sentMost = 256
)

// begin starts remembering, at a SUBSCRIBE.
func (v *sentValues) begin() { v.until = time.Now().Add(sentFor) }

// over reports whether nothing is remembered. It forgets everything once sentFor has passed.
func (v *sentValues) over() bool {
	if !v.until.IsZero() && time.Now().After(v.until) {
		*v = sentValues{}
	}
	return v.until.IsZero()
}

// find returns the value of a topic that was sent last; nil if none is known.
func (v *sentValues) find(name string) *sentValue {
	i := slices.IndexFunc(v.of, func(s sentValue) bool { return s.topic == name })
	if i < 0 {
		return nil
	}
	return &v.of[i]
}

// retained records a value sent as retained.
func (v *sentValues) retained(name string, at store.Position) {
	if v.over() {
		return
	}
	if last := v.find(name); last != nil {
		last.at = at
	} else if len(v.of) < sentMost {
		v.of = append(v.of, sentValue{name, at})
	}
}

// live records a record sent live.
func (v *sentValues) live(rec *store.Record) {
	if v.over() || !rec.Retain {
		return
	}
	if last := v.find(rec.Topic); last != nil && last.at.Before(rec.Position) {
		last.at = rec.Position
	}
}

// follows reports whether the last value sent for a topic is known and older than at.
func (v *sentValues) follows(name string, at store.Position) bool {
	if v.over() {
		return false
	}
	last := v.find(name)
	return last != nil && last.at.Before(at)
}
