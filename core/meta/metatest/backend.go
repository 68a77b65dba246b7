// Package metatest is an in-memory metadata backend for tests. It serves the meta plugin contract inside the test's process, with the
// traits of different backends, and can be made to fail.
package metatest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Full returns the traits of a backend that supports everything, like etcd.
func Full() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{Watch: true, CompareAndSet: true, Ttl: true, AtomicBatch: true, Shared: true}
}

// Plain returns the traits of a backend that only stores values, like kvconfig.
func Plain() *pluginv1.MetaTraits { return &pluginv1.MetaTraits{Shared: true} }

// Backend is the backend. Several nodes of a test may share one.
type Backend struct {
	pluginv1.UnimplementedMetaServer
	traits *pluginv1.MetaTraits
	// open ends when the backend closes; serving counts the calls under way.
	open    context.Context
	close   context.CancelFunc
	serving sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	entries map[string]map[string]entry
	// expiry is when the next entry expires; zero: none does.
	expiry    time.Time
	revision  int64
	log       []*pluginv1.Event
	compacted int64
	change    chan struct{} // closed and replaced at each change
	fail      error
	delay     time.Duration
	calls     map[string]int
	maxKeys   int
	written   int64
	// hang is called once, after a write was applied; that write is then not answered.
	hang func()
	// writing counts the writes under way; mostWriting is its maximum so far.
	writing, mostWriting int
}

type entry struct {
	value    []byte
	revision int64
	expires  time.Time
}

// New starts a backend with the given traits. Close ends it.
func New(traits *pluginv1.MetaTraits) *Backend {
	b := &Backend{traits: traits, entries: map[string]map[string]entry{}, change: make(chan struct{}), calls: map[string]int{}}
	b.open, b.close = context.WithCancel(context.Background())
	return b
}

// Close ends all calls and waits for them.
func (b *Backend) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.close()
	b.serving.Wait()
}

// Traits returns what the backend can do.
func (b *Backend) Traits() *pluginv1.MetaTraits { return b.traits }

// Fail makes every call fail with UNAVAILABLE and ends all watches, until it is called with false.
func (b *Backend) Fail(fail bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail = nil; fail {
		b.fail = status.Error(codes.Unavailable, "the backend is down")
	}
	b.wake()
}

// Delay makes every write take the given time.
func (b *Backend) Delay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

// Limit refuses keys beyond n, over all namespaces, with RESOURCE_EXHAUSTED; 0: no limit.
func (b *Backend) Limit(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.maxKeys = n
}

// Compact forgets all past changes: watches that start earlier get "compacted".
func (b *Backend) Compact() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log, b.compacted = nil, b.revision
	b.wake()
}

// Edit writes a value as another program would, which only watches notice. An empty value removes the key.
func (b *Backend) Edit(ns, key, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if value == "" {
		b.set(ns, key, nil, 0)
	} else {
		b.set(ns, key, []byte(value), 0)
	}
}

// Value returns a value, "" if the key is absent.
func (b *Backend) Value(ns, key string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	return string(b.entries[ns][key].value)
}

// Keys returns the keys of a namespace, sorted.
func (b *Backend) Keys(ns string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	return slices.Sorted(maps.Keys(b.entries[ns]))
}

// Calls returns how often a method (Get, List, Put, Delete, Batch, Watch) was called.
func (b *Backend) Calls(method string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[method]
}

// Written returns how many bytes of keys and values were written so far.
func (b *Backend) Written() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}

// Hang makes the next write be applied but not answered: it calls applied, and the write then blocks until its caller gives up.
func (b *Backend) Hang(applied func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hang = applied
}

// answer ends a write that was applied. Called with mu held.
func (b *Backend) answer(ctx context.Context) {
	hang := b.hang
	b.hang = nil
	b.mu.Unlock()
	if hang != nil {
		hang()
		<-ctx.Done()
	}
}

// MostAtATime returns the greatest number of writes that were under way at the same time.
func (b *Backend) MostAtATime() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mostWriting
}

func (b *Backend) wake() {
	close(b.change)
	b.change = make(chan struct{})
}

// set changes one key. A nil value removes it. Called with mu held.
func (b *Backend) set(ns, key string, value []byte, ttl time.Duration) int64 {
	b.revision++
	b.written += int64(len(key) + len(value))
	e := entry{value: value, revision: b.revision}
	ev := &pluginv1.Event{
		Type:  pluginv1.Event_TYPE_PUT,
		Entry: &pluginv1.Entry{Namespace: ns, Key: key, Value: value, Revision: b.revision},
	}
	if value == nil {
		ev.Type = pluginv1.Event_TYPE_DELETE
		delete(b.entries[ns], key)
	} else {
		if b.entries[ns] == nil {
			b.entries[ns] = map[string]entry{}
		}
		if b.traits.GetTtl() && ttl > 0 {
			e.expires = time.Now().Add(ttl)
			if b.expiry.IsZero() || e.expires.Before(b.expiry) {
				b.expiry = e.expires
			}
		}
		b.entries[ns][key] = e
	}
	b.log = append(b.log, ev)
	b.wake()
	return b.revision
}

// expire removes expired entries. Called with mu held.
func (b *Backend) expire() {
	now := time.Now()
	if b.expiry.IsZero() || !now.After(b.expiry) {
		return
	}
	b.expiry = time.Time{}
	for ns, es := range b.entries {
		for key, e := range es {
			switch {
			case e.expires.IsZero():
			case now.After(e.expires):
				b.set(ns, key, nil, 0)
			case b.expiry.IsZero() || e.expires.Before(b.expiry):
				b.expiry = e.expires
			}
		}
	}
}

// begin counts a call and takes the lock. If it returns nil, the caller must release the lock.
func (b *Backend) begin(method string, write bool) error {
	b.mu.Lock()
	d := b.delay
	if write {
		b.writing++
		b.mostWriting = max(b.mostWriting, b.writing)
	}
	b.mu.Unlock()
	if write && d > 0 {
		time.Sleep(d)
	}
	b.mu.Lock()
	if write {
		b.writing--
	}
	b.calls[method]++
	if b.fail != nil {
		defer b.mu.Unlock()
		return b.fail
	}
	b.expire()
	return nil
}

func (b *Backend) current(ns, key string) *pluginv1.Entry {
	e, ok := b.entries[ns][key]
	if !ok {
		return nil
	}
	return &pluginv1.Entry{Namespace: ns, Key: key, Value: e.value, Revision: e.revision}
}

func (b *Backend) holds(ns, key string, x *pluginv1.Expect) bool {
	return !b.traits.GetCompareAndSet() || x == nil || b.entries[ns][key].revision == x.GetRevision()
}

func (b *Backend) room(news int) error {
	n := news
	for _, es := range b.entries {
		n += len(es)
	}
	if b.maxKeys > 0 && n > b.maxKeys {
		return status.Error(codes.ResourceExhausted, "the backend is full")
	}
	return nil
}

// Get implements pluginv1.MetaServer, like the methods below.
func (b *Backend) Get(_ context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	if err := b.begin("Get", false); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	e := b.current(r.GetNamespace(), r.GetKey())
	return &pluginv1.GetResponse{Found: e != nil, Entry: e}, nil
}

// List implements pluginv1.MetaServer.
func (b *Backend) List(r *pluginv1.ListRequest, s grpc.ServerStreamingServer[pluginv1.ListResponse]) error {
	if err := b.begin("List", false); err != nil {
		return err
	}
	var all []*pluginv1.Entry
	for _, key := range slices.Sorted(maps.Keys(b.entries[r.GetNamespace()])) {
		if strings.HasPrefix(key, r.GetPrefix()) {
			all = append(all, b.current(r.GetNamespace(), key))
		}
	}
	revision := b.revision
	b.mu.Unlock()
	for page := range slices.Chunk(all, 3) { // small, so that every test gets several pages
		if err := s.Send(&pluginv1.ListResponse{Entries: page, Revision: revision}); err != nil {
			return err
		}
	}
	return s.Send(&pluginv1.ListResponse{Revision: revision})
}

// Put implements pluginv1.MetaServer.
func (b *Backend) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	if err := b.begin("Put", true); err != nil {
		return nil, err
	}
	defer b.answer(ctx)
	if !b.holds(r.GetNamespace(), r.GetKey(), r.GetExpect()) {
		return &pluginv1.PutResponse{Current: b.current(r.GetNamespace(), r.GetKey())}, nil
	}
	if b.current(r.GetNamespace(), r.GetKey()) == nil {
		if err := b.room(1); err != nil {
			return nil, err
		}
	}
	return &pluginv1.PutResponse{Done: true, Revision: b.put(r)}, nil
}

func (b *Backend) put(r *pluginv1.PutRequest) int64 {
	value := r.GetValue()
	if value == nil {
		value = []byte{}
	}
	return b.set(r.GetNamespace(), r.GetKey(), value, time.Duration(r.GetTtlMs())*time.Millisecond)
}

// Delete implements pluginv1.MetaServer.
func (b *Backend) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	if err := b.begin("Delete", true); err != nil {
		return nil, err
	}
	defer b.answer(ctx)
	if !b.holds(r.GetNamespace(), r.GetKey(), r.GetExpect()) {
		return &pluginv1.DeleteResponse{Current: b.current(r.GetNamespace(), r.GetKey())}, nil
	}
	return &pluginv1.DeleteResponse{Done: true, Revision: b.set(r.GetNamespace(), r.GetKey(), nil, 0)}, nil
}

// Batch implements pluginv1.MetaServer.
func (b *Backend) Batch(ctx context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	if err := b.begin("Batch", true); err != nil {
		return nil, err
	}
	defer b.answer(ctx)
	news := 0
	seen := map[[2]string]bool{}
	for i, op := range r.GetOperations() {
		ns, key, x := op.GetDelete().GetNamespace(), op.GetDelete().GetKey(), op.GetDelete().GetExpect()
		if p := op.GetPut(); p != nil {
			ns, key, x = p.GetNamespace(), p.GetKey(), p.GetExpect()
			if b.current(ns, key) == nil {
				news++
			}
		}
		if seen[[2]string{ns, key}] {
			return nil, status.Error(codes.InvalidArgument, "duplicate key in a batch")
		}
		seen[[2]string{ns, key}] = true
		if !b.holds(ns, key, x) {
			return &pluginv1.BatchResponse{FailedIndex: uint32(i)}, nil
		}
	}
	if err := b.room(news); err != nil && news > 0 {
		return nil, err
	}
	// One revision for all operations, as in an etcd transaction.
	revision := b.revision + 1
	for _, op := range r.GetOperations() {
		b.revision = revision - 1
		if p := op.GetPut(); p != nil {
			b.put(p)
		} else {
			b.set(op.GetDelete().GetNamespace(), op.GetDelete().GetKey(), nil, 0)
		}
	}
	return &pluginv1.BatchResponse{Done: true, Revision: revision}, nil
}

// Watch implements pluginv1.MetaServer.
func (b *Backend) Watch(r *pluginv1.WatchRequest, s grpc.ServerStreamingServer[pluginv1.WatchResponse]) error {
	if !b.traits.GetWatch() {
		return status.Error(codes.Unimplemented, "no watch")
	}
	after := r.GetAfterRevision()
	expire := time.NewTimer(0)
	defer expire.Stop()
	first := true
	for {
		if first {
			if err := b.begin("Watch", false); err != nil {
				return err
			}
		} else {
			b.mu.Lock()
			b.expire()
		}
		first = false
		if err := b.fail; err != nil {
			b.mu.Unlock()
			return err
		}
		if after < b.compacted {
			b.mu.Unlock()
			return s.Send(&pluginv1.WatchResponse{Compacted: true})
		}
		resp := &pluginv1.WatchResponse{Revision: b.revision}
		news, _ := slices.BinarySearchFunc(b.log, after+1, func(ev *pluginv1.Event, revision int64) int {
			return cmp.Compare(ev.GetEntry().GetRevision(), revision)
		})
		for _, ev := range b.log[news:] {
			e := ev.GetEntry()
			if e.GetNamespace() == r.GetNamespace() && strings.HasPrefix(e.GetKey(), r.GetPrefix()) {
				resp.Events = append(resp.Events, ev)
			}
		}
		change := b.change
		moved := b.revision > after
		after = b.revision
		if b.expiry.IsZero() {
			expire.Stop()
		} else {
			expire.Reset(time.Until(b.expiry) + time.Millisecond)
		}
		b.mu.Unlock()
		if moved {
			if err := s.Send(resp); err != nil {
				return err
			}
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-change:
		case <-expire.C:
		}
	}
}

var _ pluginv1.MetaServer = (*Backend)(nil)
