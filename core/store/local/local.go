package local

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/store"
)

// Broker is the name of the only broker.
const Broker = "local"

const (
	formatVersion = 1
	cacheBytes    = 8 << 20
	memTableBytes = 8 << 20
	// Records are written in the order of their keys, index entries all over theirs. A flush that is written as one file has a part of both
	// ranges, so it overlaps every other one, and the records are merged with them again and again. Files of this size, before level 0 is
	// merged, keep most records out of that. In bytes.
	flushFileBytes = 1 << 20
	// mergedFileBytes is the size of the files of the first level below; those of deeper levels are larger.
	mergedFileBytes = 4 << 20
	// mergeAfter is how many files of level 0 may overlap before they are merged; at stopAfter writes wait.
	mergeAfter = 8
	stopAfter  = 24
	// inFlightBytes bounds the memory of appends that are not acknowledged yet.
	inFlightBytes = 32 << 20
)

// Store is the embedded message store. See the package comment.
//
// Lock order: life, then adminMu, then removeMu, then an epoch lock, then group.mu, then tails.mu, then groups.mu, then group.wakeMu, then
// topicsMu, then append.mu; pebble's own locks come last.
type Store struct {
	opts    Options
	metrics *metrics
	db      *pebble.DB
	lock    *pebble.Lock
	id      string // prefix of record ids, generated once for a directory
	gaps    gaps   // that crashes left; not changed after New
	// reserved is the reservation of places in the log; see gaps.go.
	reserved reservation

	// life is held shared during every use of db, and exclusively while closing it.
	life    sync.RWMutex
	opened  atomic.Bool // New has finished: from now on walFS handles errors of the log
	started atomic.Bool
	closed  atomic.Bool
	failure atomic.Pointer[error]
	trouble atomic.Pointer[trouble]
	stalled atomic.Pointer[error] // the log is waiting for the disk, see walFS
	parked  chan struct{}         // closed when a goroutine of pebble was parked for good
	parking sync.Once
	full    atomic.Bool // too little free disk space

	append   appendQueue
	budget   *limits.Budget
	pressure pressure
	flight   inFlight
	commits  committer
	sealed   chan *sealedBatch
	visible  atomic.Int64 // records below this place in the log are durable and visible to readers
	recent   recent
	tails    tails
	groups   groups

	adminMu  sync.Mutex // serializes creations and deletions of topics
	topicsMu sync.RWMutex
	topics   map[string]*topicState
	removeMu sync.Mutex // serializes removals of records
	epochs   [64]sync.Mutex

	stop chan struct{}
	work sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// New opens the store in opts.Path, or creates one there. An error names the path and the remedy, in particular if another process has the
// directory open.
func New(opts Options) (*Store, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registerer, opts.free)
	if err != nil {
		return nil, fmt.Errorf("local store: register metrics: %w", err)
	}
	s := &Store{
		opts:    opts,
		metrics: m,
		budget:  limits.NewBudget(inFlightBytes, nil),
		sealed:  make(chan *sealedBatch, 1),
		topics:  map[string]*topicState{},
		stop:    make(chan struct{}),
		parked:  make(chan struct{}),
	}
	s.append.wake = make(chan struct{}, 1)
	s.tails.init()
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, inBrief(s.db.Close()), s.lock.Close())
	}
	s.opened.Store(true)
	return s, nil
}

func (s *Store) open() error {
	o, path := &s.opts, s.opts.Path
	if err := o.fs.MkdirAll(path, 0o750); err != nil {
		return fmt.Errorf("local store: make directory %q: %w", path, err)
	}
	lock, err := pebble.LockDirectory(path, o.fs)
	if err != nil {
		return fmt.Errorf("local store: directory %q is in use by another process, or cannot be locked; "+
			"stop the other process or set store.local.path to a directory of its own: %w", path, err)
	}
	l := &logger{log: o.Log, fail: s.fail, background: s.backgroundError}
	events := l.events()
	s.watchTables(events)
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref() // the database keeps its own reference
	options := &pebble.Options{
		FS:                          &walFS{FS: o.fs, s: s},
		Lock:                        lock,
		Cache:                       cache,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: memTablesStop,
		FlushSplitBytes:             flushFileBytes,
		L0CompactionThreshold:       mergeAfter,
		L0StopWritesThreshold:       stopAfter,
		MaxOpenFiles:                256,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      l,
		EventListener:               events,
		// Retention deletes ranges. Their space should be freed without waiting for more writes.
		FlushDelayDeleteRange: 10 * time.Second,
	}
	options.TargetFileSizes[0], options.TargetFileSizes[1] = flushFileBytes, mergedFileBytes
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(path, options)
	if err != nil {
		return errors.Join(fmt.Errorf("local store: open %q: %w", path, inBrief(err)), lock.Close())
	}
	s.db, s.lock = db, lock
	return nil
}

// load reads what the store keeps in memory: its id, the end of the log, and the topics.
func (s *Store) load() error {
	if err := s.loadFormat(); err != nil {
		return err
	}
	end, err := s.endOfLog()
	if err != nil {
		return err
	}
	next, err := s.loadGaps(end)
	if err != nil {
		return err
	}
	s.visible.Store(next)
	s.recent.base = next
	if err := s.commits.load(s, next, end); err != nil {
		return err
	}
	return s.loadTopics()
}

func (s *Store) loadFormat() error {
	format, found, err := s.getNumber(keyFormat)
	if err != nil {
		return err
	}
	if !found {
		s.id = strings.ToLower(rand.Text()[:10])
		b := s.db.NewBatch()
		defer func() { _ = b.Close() }()
		_ = b.Set(keyFormat, binary.BigEndian.AppendUint64(nil, formatVersion), nil)
		_ = b.Set(keyStoreID, []byte(s.id), nil)
		return s.apply(b, pebble.Sync)
	}
	if format != formatVersion {
		return fmt.Errorf("local store: %q has format %d, this version reads %d; use the version that wrote it",
			s.opts.Path, format, formatVersion)
	}
	id, err := s.get(keyStoreID)
	s.id = string(id)
	return err
}

// Start starts the background work. It ignores the context, because it does not block.
func (s *Store) Start(context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed.Load() {
		return store.ErrClosed
	}
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("local store: already started")
	}
	s.checkSpace()
	s.work.Go(s.commitLoop)
	s.work.Go(s.publishLoop)
	s.work.Go(s.retentionLoop)
	if s.opts.Sync == SyncInterval {
		s.work.Go(s.syncLoop)
	}
	return nil
}

// Close fails appends that are not written yet with store.ErrClosed. It waits for the other appends, for readers and for tails.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(s.stop)
	s.append.close()
	worked := make(chan struct{})
	go func() {
		s.work.Wait() // before taking life: committer and publisher need the database until they end
		close(worked)
	}()
	select {
	case <-worked:
		s.append.drain(s, store.ErrClosed)
		s.tails.close()
	case <-s.parked:
		s.failInFlight(store.ErrClosed)
		s.tails.close()
		// Goroutines of pebble that wait for the log wait forever. The directory is released when the process ends.
		return fmt.Errorf("local store: close %q: %w", s.opts.Path, *s.failure.Load())
	}
	closed := make(chan error, 1)
	go func() { closed <- s.closeDB() }()
	var err error
	select {
	case err = <-closed:
	case <-s.parked:
		err = *s.failure.Load()
	}
	if err != nil {
		return fmt.Errorf("local store: close %q: %w", s.opts.Path, err)
	}
	return nil
}

// closeDB waits for readers and closes everything.
func (s *Store) closeDB() error {
	s.life.Lock()
	defer s.life.Unlock()
	var err error
	if s.failure.Load() == nil && s.opts.Sync == SyncInterval {
		err = s.closeLog()
	}
	return errors.Join(inBrief(err), inBrief(s.db.Close()), s.lock.Close())
}

// Ready returns nil while the store accepts appends.
func (s *Store) Ready(context.Context) error {
	switch {
	case s.closed.Load():
		return store.ErrClosed
	case !s.started.Load():
		return notStarted()
	}
	return s.writable()
}

func notStarted() error {
	return fmt.Errorf("local store: not started: %w", store.ErrUnavailable)
}

// enter admits a use of the database. If it returns nil, the caller must call s.life.RUnlock.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.RLock()
	if s.closed.Load() {
		s.life.RUnlock()
		return store.ErrClosed
	}
	return nil
}

// await runs a write in a separate goroutine and waits until it is done or ctx ends, because a hanging disk must not block the caller. The
// goroutine ends with the write.
func (s *Store) await(ctx context.Context, write func() error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer s.life.RUnlock()
		done <- write()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.parked:
		return *s.failure.Load()
	}
}

// writeOptions returns the options of writes that must be as durable as an append.
func (s *Store) writeOptions() *pebble.WriteOptions {
	if s.opts.Sync == SyncAlways {
		return pebble.Sync
	}
	return pebble.NoSync
}

// get returns a copy of a value, nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.readError(err)
	}
	out := append([]byte{}, value...)
	if err := closer.Close(); err != nil {
		return nil, s.readError(err)
	}
	return out, nil
}

func (s *Store) getNumber(key []byte) (n uint64, found bool, err error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, s.readError(err)
	}
	n, found = number(value)
	if err := closer.Close(); err != nil {
		return 0, false, s.readError(err)
	}
	if !found {
		return 0, false, s.readError(fmt.Errorf("key %q: %w", key, errCorrupt))
	}
	return n, true, nil
}

func (s *Store) readError(err error) error {
	return fmt.Errorf("local store: read %q: %w: %w", s.opts.Path, store.ErrUnavailable, inBrief(err))
}
