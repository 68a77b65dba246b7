package session

import (
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// sentValues is which value of each topic a session has sent last, since a SUBSCRIBE found something retained. It is kept for the moment in
// which tails still bring what is older than the subscription. The zero value keeps nothing. Guarded by Session.mu.
type sentValues struct {
	of    []sentValue
	until time.Time // zero: nothing is kept
}

type sentValue struct {
	topic string
	at    store.Position
}

const (
	// sentFor is how long after a SUBSCRIBE a tail may bring what was acknowledged before, sentMost of how many topics it matters: values
	// of further ones that a tail brings are sent while they are the newest only.
	sentFor  = 10 * time.Second
	sentMost = 256
)

// begin notes a SUBSCRIBE.
func (v *sentValues) begin() { v.until = time.Now().Add(sentFor) }

// over reports whether nothing is kept, and forgets what was kept for long enough.
func (v *sentValues) over() bool {
	if !v.until.IsZero() && time.Now().After(v.until) {
		*v = sentValues{}
	}
	return v.until.IsZero()
}

// find returns the value of a topic that was sent last, nil where none is known.
func (v *sentValues) find(name string) *sentValue {
	i := slices.IndexFunc(v.of, func(s sentValue) bool { return s.topic == name })
	if i < 0 {
		return nil
	}
	return &v.of[i]
}

// retained notes a value that is sent as retained.
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

// live notes a record that is sent live.
func (v *sentValues) live(rec *store.Record) {
	if v.over() || !rec.Retain {
		return
	}
	if last := v.find(rec.Topic); last != nil && last.at.Before(rec.Position) {
		last.at = rec.Position
	}
}

// follows reports whether the last value of a topic that was sent is older than the one at a position.
func (v *sentValues) follows(name string, at store.Position) bool {
	if v.over() {
		return false
	}
	last := v.find(name)
	return last != nil && last.at.Before(at)
}
