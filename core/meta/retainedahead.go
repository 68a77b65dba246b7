package meta

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// A node learns of retained messages from two sources that overtake each other: its tails bring the record, and the backend shows the
// value. For each topic, the newer of the two counts. So the node never answers with something older than what its tails have brought, even
// while the backend is down. A value only ever gives way to a later one, so the holder of a retained message can ask whether it is still
// the newest.

const (
	// maxAhead and maxAheadBytes bound the values that tails have brought and the backend does not show. Beyond that, some are forgotten:
	// new subscribers then get the older value, and the newer one once the backend shows it.
	maxAhead      = 65536
	maxAheadBytes = 64 << 20
	// aheadFor is how long such a value is kept while the backend answers. It is longer than a PUBLISH waits, so a value that the backend
	// does not show by then was not retained.
	aheadFor = 2 * time.Minute
)

// ahead holds values and removals (without payload) that tails have brought and the backend does not show yet. Guarded by retained.mu.
type ahead struct {
	index retainedIndex
	since map[string]time.Time
	bytes int
	// refused are the latest values refused by the backend or this node, in case a tail brings them only later.
	refused map[string]refused
}

type refused struct {
	position store.Position
	at       time.Time
}

// maxRefused bounds the refused values remembered.
const maxRefused = 4096

// refuse drops a value, and makes sure it is not accepted when a tail brings it.
func (a *ahead) refuse(name string, p store.Position) {
	if v := a.index.get(name); v != nil && v.Position.Same(p) {
		a.remove(name)
	}
	for other := range a.refused {
		if len(a.refused) < maxRefused {
			break
		}
		delete(a.refused, other)
	}
	if a.refused == nil {
		a.refused = make(map[string]refused)
	}
	a.refused[name] = refused{p, time.Now()}
}

// wasRefused reports whether a value was refused before the tail brought it.
func (a *ahead) wasRefused(name string, p store.Position) bool {
	v, ok := a.refused[name]
	return ok && v.position.Same(p)
}

func (a *ahead) set(v *Retained) {
	a.remove(v.Message.Topic)
	for name := range a.since {
		if len(a.since) < maxAhead && a.bytes+len(v.Message.Payload) <= maxAheadBytes {
			break
		}
		a.remove(name)
	}
	if a.since == nil {
		a.since = make(map[string]time.Time)
	}
	a.index.set(v.Message.Topic, v)
	a.since[v.Message.Topic] = time.Now()
	a.bytes += len(v.Message.Payload)
}

func (a *ahead) remove(name string) {
	v := a.index.get(name)
	if v == nil {
		return
	}
	a.bytes -= len(v.Message.Payload)
	a.index.remove(name)
	delete(a.since, name)
}

// SeenRetained records a record with the retain flag that a tail has brought.
func (m *Meta) SeenRetained(rec *store.Record) {
	r := m.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.newest(rec.Topic); ok && !p.Before(rec.Position) || r.ahead.wasRefused(rec.Topic, rec.Position) {
		return
	}
	r.version++
	r.ahead.set(&Retained{Message: &rec.Message, Position: rec.Position, version: r.version})
}

// shown drops what a tail brought once the backend shows the same or something later. Called with mu held.
func (r *retained) shown(name string, p store.Position) {
	if a := r.ahead.index.get(name); a != nil && !p.Before(a.Position) {
		r.ahead.remove(name)
	}
}

// forget drops a refused value, whether a tail has brought it already or brings it later.
func (r *retained) forget(name string, p store.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead.refuse(name, p)
}

// sweepAhead forgets values that the backend has had time enough to show.
func (r *retained) sweepAhead(now time.Time) {
	if r.m.mirrors[NamespaceRetained].lastError() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, since := range r.ahead.since {
		if now.Sub(since) > aheadFor {
			r.ahead.remove(name)
		}
	}
	for name, v := range r.ahead.refused {
		if now.Sub(v.at) > aheadFor {
			delete(r.ahead.refused, name)
		}
	}
}

// newest returns the position of what counts for a topic, a value or a removal. Called with mu held.
func (r *retained) newest(name string) (store.Position, bool) {
	p, ok := r.position(name)
	if a := r.ahead.index.get(name); a != nil && (!ok || p.Before(a.Position)) {
		return a.Position, true
	}
	return p, ok
}

// position returns the position of what the backend shows for a topic. Called with mu held.
func (r *retained) position(name string) (store.Position, bool) {
	if v := r.index.get(name); v != nil {
		return v.Position, true
	}
	if g, ok := r.gone[name]; ok {
		return g.position, true
	}
	return store.Position{}, false
}

// removed returns the version at which this node learned of a removal; 0 if it knows of none at the position. Called with mu held.
func (r *retained) removed(name string, p store.Position) uint64 {
	if a := r.ahead.index.get(name); a != nil && len(a.Message.Payload) == 0 && a.Position.Same(p) {
		return a.version
	}
	if g, ok := r.gone[name]; ok && g.position.Same(p) {
		return g.version
	}
	return 0
}

// IsNewest reports whether the value or removal at a position still counts for its topic.
func (m *Meta) IsNewest(name string, p store.Position) bool {
	r := m.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	at, ok := r.newest(name)
	return ok && at.Same(p)
}

// RemovedSince returns the version at which this node learned that the record at a position removed the topic's retained message; 0 if it
// has not learned that.
func (m *Meta) RemovedSince(name string, p store.Position) uint64 {
	r := m.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.removed(name, p)
}

// Retained returns the retained messages of the topics that match a filter, in no particular order, and the version of this answer: values
// that OnRetained reports with a later version are not part of it. Expired messages are left out, and so are point-to-point messages to one
// client: see RetainedTo.
func (m *Meta) Retained(filter string) (found []*Retained, version uint64) {
	r := m.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.merge(r.index.find(filter), r.ahead.index.find(filter)), r.version
}

// RetainedTo returns the retained point-to-point messages to one client.
func (m *Meta) RetainedTo(client string) (found []*Retained, version uint64) {
	r := m.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.merge(r.index.to(client), r.ahead.index.to(client)), r.version
}

// merge takes, for each topic, the newer of what the backend shows and what tails have brought. Called with mu held.
func (r *retained) merge(shown, seen []*Retained) []*Retained {
	now := time.Now()
	out := shown[:0]
	for _, v := range shown {
		if a := r.ahead.index.get(v.Message.Topic); (a == nil || !v.Position.Before(a.Position)) && !v.expired(now) {
			out = append(out, v)
		}
	}
	for _, v := range seen {
		if p, ok := r.position(v.Message.Topic); (!ok || p.Before(v.Position)) && len(v.Message.Payload) > 0 && !v.expired(now) {
			out = append(out, v)
		}
	}
	return out
}

func (v *Retained) expired(now time.Time) bool {
	e := v.Message.Expires
	return !e.IsZero() && !now.Before(e)
}

// OnRetained registers f to be called with each value and removal (a message without payload) that the backend shows and that is newer than
// what this node knew of the topic, whichever node set it. If several follow each other quickly, possibly only the last is reported.
func (m *Meta) OnRetained(f func(v *Retained, version uint64)) {
	m.retained.mu.Lock()
	defer m.retained.mu.Unlock()
	m.retained.onChange = append(m.retained.onChange, f)
}

// note schedules a report of a value or a removal, and returns its version. Called with mu held.
func (r *retained) note(name string) uint64 {
	r.version++
	if len(r.onChange) == 0 || !r.m.mirrors[NamespaceRetained].loaded.Load() {
		return r.version
	}
	if r.changed == nil {
		r.changed = make(map[string]uint64)
	}
	r.changed[name] = r.version
	select {
	case r.tell <- struct{}{}:
	default:
	}
	return r.version
}

// tells calls the callbacks of OnRetained, until ctx ends.
func (r *retained) tells(ctx context.Context) {
	type change struct {
		v       *Retained
		version uint64
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.tell:
		}
		r.mu.Lock()
		list := make([]change, 0, len(r.changed))
		for name, version := range r.changed {
			if r.ahead.index.get(name) != nil {
				continue // a tail has brought something newer
			}
			if v := r.index.get(name); v != nil {
				list = append(list, change{v, version})
			} else if g, ok := r.gone[name]; ok {
				list = append(list, change{&Retained{Message: &store.Message{Topic: name, QoS: 1}, Position: g.position}, version})
			}
		}
		r.changed = nil
		onChange := r.onChange
		r.mu.Unlock()
		for _, c := range list {
			for _, f := range onChange {
				f(c.v, c.version)
			}
		}
	}
}
