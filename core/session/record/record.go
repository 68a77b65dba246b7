// Package record keeps the state that a durable session needs after its node is gone: one meta.Session, and the way it is written.
//
// A Record has one mutex. Update changes the state under the mutex. Save writes a copy that nobody changes, so a change never races with an
// encoder. Writes are ordered. A Save writes nothing if an earlier write covers its state.
//
// The package knows neither connections nor messages, and starts no goroutines. It holds its mutex during no call except to the function
// given to Update.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/store"
)

// Storage stores records; see package meta for the contracts.
type Storage interface {
	SaveSession(ctx context.Context, s *meta.Session) error
	DropSession(ctx context.Context, s *meta.Session) error
}

// Record is the recorded state of one session. Its methods are safe for concurrent use.
type Record struct {
	storage Storage
	// writing has room for one token; its holder writes.
	writing chan struct{}

	mu      sync.Mutex // a leaf lock
	state   *meta.Session
	version uint64 // counts changes of the state
	written uint64 // the version last written
	deleted bool
}

// ErrDeleted says that the session has ended, so that it is no longer recorded.
var ErrDeleted = errors.New("the session has ended")

// New makes the record of a session. state is what was loaded, or a new session that is not written yet. The Record owns it from now on.
func New(storage Storage, state *meta.Session) *Record {
	return &Record{storage: storage, writing: make(chan struct{}, 1), state: state, version: 1}
}

// Update changes the state. f must not keep its argument, block, or use the Record.
func (r *Record) Update(f func(s *meta.Session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.state)
	r.version++
}

// Snapshot returns a copy of the state.
func (r *Record) Snapshot() *meta.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Clone()
}

// Save returns once the present state, or a later one, is written. After Delete the error wraps ErrDeleted.
func (r *Record) Save(ctx context.Context) error {
	r.mu.Lock()
	wanted := r.version
	r.mu.Unlock()
	select {
	case r.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("recording the session: %w", ctx.Err())
	}
	defer func() { <-r.writing }()
	r.mu.Lock()
	if r.written >= wanted {
		r.mu.Unlock()
		return nil
	}
	if r.deleted {
		r.mu.Unlock()
		return fmt.Errorf("recording the session: %w", ErrDeleted)
	}
	snapshot, version := r.state.Clone(), r.version
	r.mu.Unlock()
	err := r.storage.SaveSession(ctx, snapshot)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Succeed(snapshot)
	if err != nil {
		return fmt.Errorf("recording the session: %w", err)
	}
	r.written = version
	return nil
}

// Delete removes the record, after waiting for a write that is under way. Nothing is written afterwards. It returns meta.ErrSuperseded if
// the record belongs to a newer connection.
func (r *Record) Delete(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("removing the session's record: %w", ctx.Err())
	}
	defer func() { <-r.writing }()
	if err := r.storage.DropSession(ctx, r.Snapshot()); err != nil {
		return err
	}
	r.mu.Lock()
	r.deleted = true
	r.mu.Unlock()
	return nil
}

// The attributes of a record. Each holds JSON.
const (
	// p2pStarts is the start of the session's point-to-point queue, by broker.
	p2pStarts = "p2p_start"
	// qos2Topics lists the store's topics to which the session has sent QoS 2 messages. Without this attribute there is no journal.
	qos2Topics = "qos2_topics"
	// marks is a mark of each broker's log in which the session's progress is valid.
	marks = "marks"
	// progress is how far the session has got in each queue, by broker. It is left out of sessions with many queues.
	progress = "progress"
)

// maxProgress is the most queues whose progress a record has.
const maxProgress = 32

// Progress returns how far the session had got in each queue when the record was written. The store may have later progress;
// but a broker's slave copies that now and then only. Queues may be missing.
func Progress(s *meta.Session) map[store.QueueRef]int64 {
	var all map[string]map[string]int64
	if json.Unmarshal([]byte(s.Attributes[progress]), &all) != nil {
		return nil
	}
	out := make(map[store.QueueRef]int64)
	for broker, queues := range all {
		for queue, next := range queues {
			out[store.QueueRef{Queue: queue, Broker: broker}] = next
		}
	}
	return out
}

// SetProgress sets how far the session has got in each queue.
func SetProgress(s *meta.Session, all map[store.QueueRef]int64) {
	if len(all) == 0 || len(all) > maxProgress {
		delete(s.Attributes, progress)
		return
	}
	byBroker := make(map[string]map[string]int64)
	for ref, next := range all {
		if byBroker[ref.Broker] == nil {
			byBroker[ref.Broker] = make(map[string]int64)
		}
		byBroker[ref.Broker][ref.Queue] = next
	}
	setAttribute(s, progress, byBroker)
}

// Marks returns a mark of each broker's log in which the session's progress is valid.
func Marks(s *meta.Session) map[string]store.Mark {
	var all map[string]store.Mark
	if json.Unmarshal([]byte(s.Attributes[marks]), &all) != nil {
		return nil
	}
	return all
}

// SetMarks sets a mark of each broker's log in which the session's progress is valid.
func SetMarks(s *meta.Session, all map[string]store.Mark) {
	if len(all) == 0 {
		delete(s.Attributes, marks)
		return
	}
	setAttribute(s, marks, all)
}

// P2PStarts returns the start of the session's point-to-point queue, by broker.
func P2PStarts(s *meta.Session) map[string]int64 {
	var starts map[string]int64
	if json.Unmarshal([]byte(s.Attributes[p2pStarts]), &starts) != nil {
		return nil
	}
	return starts
}

// SetP2PStarts sets the start of the session's point-to-point queue, by broker.
func SetP2PStarts(s *meta.Session, starts map[string]int64) { setAttribute(s, p2pStarts, starts) }

// QoS2Topics returns the store's topics to which the session has sent QoS 2 messages, and whether it has a journal at all. The caller owns
// the map, which is never nil.
func QoS2Topics(s *meta.Session) (topics map[string]bool, journal bool) {
	text, journal := s.Attributes[qos2Topics]
	var names []string
	_ = json.Unmarshal([]byte(text), &names) // text that is not a list counts as empty
	topics = make(map[string]bool, len(names)+1)
	for _, n := range names {
		topics[n] = true
	}
	return topics, journal
}

// AddQoS2Topic records that there is a journal and, unless topic is empty, that the journal covers this topic of the store. It returns all
// covered topics.
func AddQoS2Topic(s *meta.Session, topic string) map[string]bool {
	topics, _ := QoS2Topics(s)
	if topic != "" {
		topics[topic] = true
	}
	names := slices.AppendSeq(make([]string, 0, len(topics)), maps.Keys(topics))
	slices.Sort(names)
	setAttribute(s, qos2Topics, names)
	return topics
}

func setAttribute(s *meta.Session, key string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		return // names and numbers always encode
	}
	if s.Attributes == nil {
		s.Attributes = make(map[string]string, 2)
	}
	s.Attributes[key] = string(b)
}
