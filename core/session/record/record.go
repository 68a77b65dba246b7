// Package record keeps what a durable session must know after its node is gone: one meta.Session, and how it is written.
//
// A Record has one mutex. Update changes the state under it; Save writes a copy that nobody changes any more, so a change and an
// encoder never meet. Writes are ordered, and a Save whose state an earlier write has covered writes nothing.
//
// The package knows neither connections nor messages, and starts no goroutines. It holds its mutex over no call but the function
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
)

// Storage is where records are kept; see package meta for the contracts.
type Storage interface {
	SaveSession(ctx context.Context, s *meta.Session) error
	DropSession(ctx context.Context, s *meta.Session) error
}

// Record is the recorded state of one session. Its methods are safe for concurrent use.
type Record struct {
	storage Storage
	// writing has one token: whoever holds it writes.
	writing chan struct{}

	mu      sync.Mutex // a leaf
	state   *meta.Session
	version uint64 // counts changes of state
	written uint64 // the version that was written last
	deleted bool
}

// ErrDeleted says that the session has ended, so that nothing of it is recorded any more.
var ErrDeleted = errors.New("the session has ended")

// New makes the record of a session. state is what was loaded, or a new session that is not written yet; it belongs to the
// Record from now on.
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

// Save returns once the state of now, or a later one, is written. The error wraps ErrDeleted after Delete.
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

// Delete removes the record, after a write that is under way. Nothing is written after it. meta.ErrSuperseded: it belongs to a newer
// connection.
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

// The attributes of a record, each a JSON text.
const (
	// p2pStarts is where the session's point-to-point queue begins, by broker.
	p2pStarts = "p2p_start"
	// qos2Topics lists the store's topics that the session has sent QoS 2 messages to. Where it is missing there is no journal.
	qos2Topics = "qos2_topics"
)

// P2PStarts returns where the session's point-to-point queue begins, by broker.
func P2PStarts(s *meta.Session) map[string]int64 {
	var starts map[string]int64
	if json.Unmarshal([]byte(s.Attributes[p2pStarts]), &starts) != nil {
		return nil
	}
	return starts
}

// SetP2PStarts notes where the session's point-to-point queue begins, by broker.
func SetP2PStarts(s *meta.Session, starts map[string]int64) { setAttribute(s, p2pStarts, starts) }

// QoS2Topics returns the store's topics that the session has sent QoS 2 messages to, and whether it has a journal at all. The map
// is the caller's, and never nil.
func QoS2Topics(s *meta.Session) (topics map[string]bool, journal bool) {
	text, journal := s.Attributes[qos2Topics]
	var names []string
	_ = json.Unmarshal([]byte(text), &names) // what is no list is none
	topics = make(map[string]bool, len(names)+1)
	for _, n := range names {
		topics[n] = true
	}
	return topics, journal
}

// AddQoS2Topic notes that there is a journal and, unless it is empty, that messages to a topic of the store are in it. It
// returns all such topics.
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
		return // names and numbers can always be marshalled
	}
	if s.Attributes == nil {
		s.Attributes = make(map[string]string, 2)
	}
	s.Attributes[key] = string(b)
}
