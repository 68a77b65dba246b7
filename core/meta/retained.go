package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Retained is the retained message of a topic and the position of its record. Of two, the one with the later position counts.
type Retained struct {
	Message  *store.Message
	Position store.Position
	version  uint64 // of a removal: when this node learned of it
	// mark is the owner under which it is counted; takes is the amount of its record.
	mark  string
	takes amount
	shown bool // the backend shows it
}

// Shown reports whether the backend shows the value. As long as it is the newest one of its topic, this node then has it under the same
// pointer.
func (v *Retained) Shown() bool { return v.shown }

// retained holds every retained message, and recent removals.
type retained struct {
	m *Meta

	mu    sync.RWMutex
	index retainedIndex
	gone  map[string]tombstone
	ahead ahead
	// version counts the values that the backend showed. changed holds the topics to be reported, with their versions.
	version uint64
	changed map[string]uint64
	// own are values that this node wrote to a backend without compare-and-set. If another node's older value overwrites one, it is written
	// again.
	own    map[string]ownRetained
	repair map[string]struct{}
	wake   chan struct{}

	turns retainedTurns
	room  retainedRoom

	tell     chan struct{}
	onChange []func(*Retained, uint64)
}

// tombstone is a removed message. It is remembered so that an older value that arrives late does not bring the message back.
type tombstone struct {
	position store.Position
	at       time.Time
	version  uint64 // when this node learned of it
	// It is counted under an owner (mark) and a client.
	mark   string
	client uint64
	takes  amount
}

type ownRetained struct {
	record *retainedRecord
	at     time.Time
}

type retainedRecord struct {
	header
	Message  *messageRecord `json:"message,omitempty"`
	Position positionRecord `json:"position"`
	Removed  int64          `json:"removed_ms,omitempty"`
	// By is the owner that published it; see Owner.Mark. Client is who removed what was not there; see clientKey.
	By     string `json:"by,omitempty"`
	Client uint64 `json:"client,omitempty"`
}

type positionRecord struct {
	Broker    string `json:"broker,omitempty"`
	Partition int32  `json:"partition,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	Log       int64  `json:"log"`
	Time      int64  `json:"time_ms"`
}

func newRetained(m *Meta) *retained {
	return &retained{m: m, gone: map[string]tombstone{}, own: map[string]ownRetained{}, repair: map[string]struct{}{},
		wake: make(chan struct{}, 1), tell: make(chan struct{}, 1)}
}

func (r *retainedRecord) position() store.Position { return store.Position(r.Position) }

// ttl returns how long the backend has to keep the record; 0: for ever.
func (r *retainedRecord) ttl(m *Meta) time.Duration {
	switch {
	case r.Removed != 0:
		return m.opts.TombstoneTTL
	case r.Message != nil && r.Message.Expires != 0:
		// A little longer than the message lives, so that clocks may differ, and never zero.
		return max(time.Until(fromMillis(r.Message.Expires).Add(expiredFor)), expiredFor)
	default:
		return 0
	}
}

// held returns the position of what the backend shows for a topic.
func (r *retained) held(name string) (store.Position, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.position(name)
}

// holds returns the position of what counts for a topic: a value, or a removal that is remembered.
func (r *retained) holds(name string) (store.Position, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.newest(name)
}

// applyKey applies one key of NamespaceRetained.
func (r *retained) applyKey(key string, e *pluginv1.Entry) {
	var rec retainedRecord
	if e != nil {
		if err := decode(NamespaceRetained, key, e.GetValue(), &rec); err != nil {
			r.m.invalid(NamespaceRetained, key, err)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Without compare-and-set, an older value may have overwritten a later one of ours.
	if own, ok := r.own[key]; ok && e != nil {
		if rec.position().Before(own.record.position()) {
			r.repair[key] = struct{}{}
			select {
			case r.wake <- struct{}{}:
			default:
			}
			return
		}
		if own.record.position().Before(rec.position()) {
			delete(r.own, key)
		}
	}
	before, known := r.newest(key)
	since := r.removed(key, rec.position())
	if e != nil {
		if !known || before.Before(rec.position()) {
			since = r.note(key)
		}
		defer r.shown(key, rec.position())
	}
	r.uncount(key)
	var takes amount
	if e != nil {
		takes = sized(key, e.GetValue())
	}
	defer r.recount(key)
	switch {
	case e == nil:
		r.index.remove(key)
		delete(r.gone, key)
	case rec.Removed != 0 || rec.Message == nil:
		r.index.remove(key)
		r.gone[key] = tombstone{rec.position(), time.Now(), since, rec.By, rec.Client, takes}
	default:
		delete(r.gone, key)
		rec.Message.Topic = key
		v := r.index.get(key)
		if v == nil || !v.Position.Same(rec.position()) {
			v = &Retained{Message: rec.Message.message(), Position: rec.position(), shown: true}
		}
		v.mark, v.takes = rec.By, takes
		v.takes.memory = v.cost()
		r.index.set(key, v)
	}
}

// SetRetained makes a message the retained message of its topic. An empty payload removes the retained message (MQTT 3.1.1, 3.3.1.3). When
// it returns nil, the change is durable and MatchRetained sees it. If a message with a later position is there already, that one stays, and
// SetRetained returns nil. Of several values set for one topic at the same time, only the newest is written. Errors: ErrUnavailable,
// ErrLimit.
func (m *Meta) SetRetained(ctx context.Context, v *Retained) error {
	err := m.retained.turns.set(ctx, v, func() error {
		end, err := m.retained.take(v)
		if err != nil && len(v.Message.Payload) == 0 {
			return nil // there is nothing to remove, and no room to remember that
		}
		if err != nil {
			return err
		}
		defer end()
		return m.setRetained(ctx, v)
	})
	if errors.Is(err, ErrLimit) {
		m.retained.forget(v.Message.Topic, v.Position)
	}
	return err
}

func (m *Meta) setRetained(ctx context.Context, v *Retained) error {
	name := v.Message.Topic
	if err := m.loaded(NamespaceRetained); err != nil {
		return err
	}
	rec := &retainedRecord{header: header{recordVersion}, Position: positionRecord(v.Position), By: v.Message.Identity}
	if len(v.Message.Payload) == 0 {
		rec.Removed = time.Now().UnixMilli()
		if _, known := m.retained.holds(name); !known {
			rec.Client = clientKey(v.Message.Publisher)
		}
	} else {
		rec.Message = toMessageRecord(v.Message)
	}
	value, ttl := encode(rec), rec.ttl(m)
	if !m.traits().GetCompareAndSet() {
		return m.setRetainedBlind(ctx, name, rec, value, ttl)
	}
	// Read the revision first. Read after the position, it could be the revision of a later value, which this one would then replace.
	expect := m.mirrors[NamespaceRetained].revision(name)
	if p, ok := m.retained.held(name); ok && !p.Before(v.Position) {
		return nil
	}
	for {
		out, err := m.backend.putIf(ctx, NamespaceRetained, name, value, expect, ttl)
		if rebased(err) {
			expect = stored{}
			continue
		}
		if err != nil {
			return fmt.Errorf("retain on topic %q: %w", name, err)
		}
		if out.done {
			op := put(NamespaceRetained, name, value, ttl)
			m.applied(op, out.revision, out.generation)
			return m.announce(ctx, op)
		}
		if expect = seen(out.current, out.generation); out.current == nil {
			continue
		}
		var have retainedRecord
		if err := decode(NamespaceRetained, name, out.current.GetValue(), &have); err != nil {
			m.invalid(NamespaceRetained, name, err)
			continue // an unreadable value is overwritten
		}
		m.mirrors[NamespaceRetained].learned(out.current, out.generation)
		if !have.position().Before(v.Position) {
			return nil
		}
	}
}

// setRetainedBlind writes without compare-and-set. It remembers the value until something later was seen, and writes it again if an older
// value has overwritten it.
func (m *Meta) setRetainedBlind(ctx context.Context, name string, rec *retainedRecord, value []byte, ttl time.Duration) error {
	r := m.retained
	r.mu.Lock()
	p, ok := r.position(name)
	if own, is := r.own[name]; is && (!ok || p.Before(own.record.position())) {
		p, ok = own.record.position(), true
	}
	if ok && !p.Before(rec.position()) {
		r.mu.Unlock()
		return nil
	}
	r.own[name] = ownRetained{rec, time.Now()}
	r.mu.Unlock()
	if _, err := m.writer.write(ctx, put(NamespaceRetained, name, value, ttl)); err != nil {
		r.mu.Lock()
		if r.own[name].record == rec {
			delete(r.own, name)
		}
		r.mu.Unlock()
		return fmt.Errorf("retain on topic %q: %w", name, err)
	}
	return nil
}

// MatchRetained calls f for each message that Retained returns, until f returns false. It holds no lock while f runs.
func (m *Meta) MatchRetained(filter string, f func(*Retained) bool) {
	found, _ := m.Retained(filter)
	for _, v := range found {
		if !f(v) {
			return
		}
	}
}

// RetainedCount returns how many topics have a retained message. Expired ones count until they are swept.
func (m *Meta) RetainedCount() int {
	m.retained.mu.RLock()
	defer m.retained.mu.RUnlock()
	return m.retained.index.len()
}

// run rewrites overwritten values and sweeps, until ctx ends.
func (r *retained) run(ctx context.Context) {
	t := time.NewTicker(r.m.opts.TombstoneTTL / 2)
	defer t.Stop()
	ahead := time.NewTicker(aheadFor / 4)
	defer ahead.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			r.rewrite(ctx)
		case now := <-ahead.C:
			r.sweepAhead(now)
		case <-t.C:
			r.rewrite(ctx)
			r.sweep(ctx, time.Now())
		}
	}
}

func (r *retained) rewrite(ctx context.Context) {
	r.mu.Lock()
	var ops []*pluginv1.Operation
	for name := range r.repair {
		if own, ok := r.own[name]; ok {
			ops = append(ops, put(NamespaceRetained, name, encode(own.record), own.record.ttl(r.m)))
		}
	}
	clear(r.repair)
	r.mu.Unlock()
	for _, op := range ops {
		if _, err := r.m.writer.write(ctx, op); err != nil {
			r.m.log.Warn("a retained message was overwritten by an older one and could not be restored yet",
				"topic", fmt.Sprintf("%q", target(op).key), "error", err)
			r.mu.Lock()
			r.repair[target(op).key] = struct{}{}
			r.mu.Unlock()
		}
	}
}

// sweep forgets own values that are settled. On the leading node it also removes tombstones and expired messages that the backend does not
// expire by itself.
func (r *retained) sweep(ctx context.Context, now time.Time) {
	r.mu.Lock()
	for name, own := range r.own {
		if now.Sub(own.at) > r.m.opts.TombstoneTTL {
			delete(r.own, name)
		}
	}
	var over []string
	for name := range r.gone {
		if r.over(name, now) {
			over = append(over, name)
		}
	}
	r.index.each(func(v *Retained) {
		if r.over(v.Message.Topic, now) {
			over = append(over, v.Message.Topic)
		}
	})
	r.mu.Unlock()
	if !r.m.nodes.leads() {
		return
	}
	err := r.m.removeOver(ctx, NamespaceRetained, over, func(name string) bool {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return r.over(name, now)
	})
	if err != nil {
		r.m.log.Warn("expired retained messages not removed; will be tried again", "error", err)
	}
}

// over reports whether a topic's record was kept long enough, as a removal or as an expired message. Called with mu held.
func (r *retained) over(name string, now time.Time) bool {
	if g, ok := r.gone[name]; ok {
		return now.Sub(g.at) > r.m.opts.TombstoneTTL
	}
	v := r.index.get(name)
	return v != nil && !v.Message.Expires.IsZero() && now.Sub(v.Message.Expires) > r.m.opts.TombstoneTTL
}

// expiredFor is how long a backend keeps an expired message.
const expiredFor = time.Minute
