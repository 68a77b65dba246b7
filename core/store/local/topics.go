package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lmqgate/lmqgate/core/store"
)

// maxTopic is the longest name of a first-level topic, in bytes.
const maxTopic = 8 << 10

// topicState is a first-level topic.
type topicState struct {
	name      string
	partition string // the queue name of its partition
	deleted   atomic.Bool
	id        atomic.Uint64 // of that queue; 0: not looked up yet, or the queue has no entry yet
	end       int64         // the visible end of its partition; guarded by Store.tails.mu
}

func (s *Store) loadTopics() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindTopic}, UpperBound: []byte{kindTopic + 1}})
	if err != nil {
		return s.readError(err)
	}
	var names []string
	for ok := it.First(); ok; ok = it.Next() {
		names = append(names, string(it.Key()[1:]))
	}
	if err := it.Close(); err != nil {
		return s.readError(err)
	}
	for _, name := range names {
		if s.topics[name], err = s.newTopic(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) newTopic(name string) (*topicState, error) {
	t := &topicState{name: name, partition: partitionQueue(name)}
	b, err := s.bounds(t.partition)
	t.end = b.Max
	return t, err
}

func (s *Store) lookupTopic(name string) *topicState {
	s.topicsMu.RLock()
	defer s.topicsMu.RUnlock()
	if t := s.topics[name]; t != nil && !t.deleted.Load() {
		return t
	}
	return nil
}

// Brokers returns the only broker. See store.Store.
func (s *Store) Brokers(ctx context.Context, topic string) ([]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	if topic != "" && s.lookupTopic(topic) == nil {
		return nil, unknownTopic(topic)
	}
	return []string{Broker}, nil
}

// Topic describes a first-level topic. See store.Store.
func (s *Store) Topic(ctx context.Context, name string) (store.TopicInfo, error) {
	if err := s.enter(ctx); err != nil {
		return store.TopicInfo{}, err
	}
	defer s.life.RUnlock()
	if s.lookupTopic(name) == nil {
		return store.TopicInfo{}, unknownTopic(name)
	}
	return topicInfo(name), nil
}

func topicInfo(name string) store.TopicInfo {
	return store.TopicInfo{Name: name, Queues: 1, Brokers: []string{Broker}}
}

// Topics lists the first-level topics. See store.Store.
func (s *Store) Topics(ctx context.Context) ([]store.TopicInfo, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	s.topicsMu.RLock()
	infos := make([]store.TopicInfo, 0, len(s.topics))
	for name, t := range s.topics {
		if !t.deleted.Load() && !strings.HasPrefix(name, store.OwnPrefix) {
			infos = append(infos, topicInfo(name))
		}
	}
	s.topicsMu.RUnlock()
	slices.SortFunc(infos, func(a, b store.TopicInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// CreateTopic creates a first-level topic. A topic of this store always has one partition, whatever queues says. See store.Store.
func (s *Store) CreateTopic(ctx context.Context, name string, _ int) error {
	if err := checkName(name); err != nil {
		return err
	}
	if s.lookupTopic(name) != nil && !s.closed.Load() {
		return ctx.Err()
	}
	return s.await(ctx, func() error { return s.createTopic(name) })
}

func (s *Store) createTopic(name string) error {
	if err := s.writable(); err != nil {
		return err
	}
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
	if s.lookupTopic(name) != nil {
		return nil
	}
	t, err := s.newTopic(name)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	created := binary.BigEndian.AppendUint64(nil, uint64(s.opts.now().UnixMilli()))
	if err := b.Set(appendName(nil, kindTopic, name), created, nil); err != nil {
		return err
	}
	if err := s.apply(b, s.writeOptions()); err != nil {
		return err
	}
	s.topicsMu.Lock()
	s.topics[name] = t
	s.topicsMu.Unlock()
	return nil
}

// DeleteTopic removes a first-level topic and its records. A topic of the same name that is created later continues the offsets. See
// store.Store.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	return s.await(ctx, func() error { return s.deleteTopic(ctx, name) })
}

func (s *Store) deleteTopic(ctx context.Context, name string) error {
	s.adminMu.Lock() // held until the records are gone, so that a new topic of this name starts empty
	defer s.adminMu.Unlock()
	t := s.lookupTopic(name)
	if t == nil {
		return nil
	}
	if failure := s.failure.Load(); failure != nil {
		return *failure // a full disk, however, is a reason to delete
	}
	if !s.started.Load() {
		return notStarted()
	}
	t.deleted.Store(true) // from now on the committer refuses its appends
	if err := s.barrier(ctx); err != nil {
		t.deleted.Store(false)
		return err
	}
	if err := s.removeTopic(ctx, t); err != nil {
		t.deleted.Store(false)
		return err
	}
	s.topicsMu.Lock()
	delete(s.topics, name)
	s.topicsMu.Unlock()
	return nil
}

// barrier waits until all appends accepted by the committer are done.
func (s *Store) barrier(ctx context.Context) error {
	done := make(chan error, 1)
	if !s.append.push(&appendOp{done: func(_ store.Position, err error) { done <- err }}) {
		return store.ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ValidTopic accepts every name that MQTT can express as a first level, except the gateway's own. See store.Store.
func (s *Store) ValidTopic(name string) error {
	if strings.HasPrefix(name, store.OwnPrefix) {
		return fmt.Errorf(
			"local store: names that begin with %q are the gateway's own, like %q: %w",
			store.OwnPrefix,
			name,
			store.ErrInvalidTopic,
		)
	}
	return checkName(name)
}

func checkName(name string) error {
	switch {
	case len(name) > maxTopic:
		return fmt.Errorf("local store: topic name of %d bytes, the limit is %d: %w", len(name), maxTopic, store.ErrInvalidTopic)
	case strings.ContainsAny(name, "/+#\x00") || !utf8.ValidString(name):
		return fmt.Errorf(
			"local store: topic name %q contains \"/\", \"+\", \"#\", U+0000 or what is not UTF-8: %w",
			name,
			store.ErrInvalidTopic,
		)
	}
	return nil
}

// Limits returns the limits of the local store: only Exclusive applies.
func (s *Store) Limits() store.Limits { return store.Limits{Exclusive: true} }
