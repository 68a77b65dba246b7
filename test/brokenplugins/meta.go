package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

const maxValue = 2 << 20

type metaConfig struct {
	File string `config:"file" doc:"in the data directory"`
}

// item is one entry, and one line of the file; Gone marks a removal.
type item struct {
	NS, Key  string
	Value    []byte
	Revision int64
	Expires  int64 // milliseconds since the epoch; 0 for never
	Gone     bool
}

func (i *item) entry() *pluginv1.Entry {
	return &pluginv1.Entry{Namespace: i.NS, Key: i.Key, Value: i.Value, Revision: i.Revision}
}

// memory keeps everything in memory and in an append-only file.
type memory struct {
	path string

	mu       sync.Mutex
	file     *os.File
	lock     chan struct{} // closed when it is deactivated
	revision int64
	floor    int64 // changes up to here are no longer known
	items    map[[2]string]*item
	changes  []*item
	wake     chan struct{}
	// sending is locked, outside mu, while a watch sends, if that is the fault.
	sending sync.Mutex
	// conditional pairs writes between their check and their lock, if that is the fault.
	conditional meeting
}

var (
	_ sdk.MetaPlugin = (*memory)(nil)
	_ sdk.Watcher    = (*memory)(nil)
)

func newMemory() *memory { return &memory{} }

func (m *memory) Info() sdk.Info {
	return sdk.Info{Name: fault, Version: "1", Config: metaConfig{}, Exclusive: false}
}

func (m *memory) Traits() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{
		Watch:         !is("meta-watches-undeclared"),
		CompareAndSet: true,
		Ttl:           true,
		AtomicBatch:   true,
		MaxValueBytes: maxValue,
	}
}

func (m *memory) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	var c metaConfig
	if problems := setup.Decode(&c); len(problems) > 0 {
		return problems
	}
	m.path = filepath.Join(setup.DataDir, "memory.jsonl")
	return nil
}

func (m *memory) Activate(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision, m.items, m.changes, m.wake, m.lock = 0, map[[2]string]*item{}, nil, make(chan struct{}), make(chan struct{})
	var err error
	if m.file, err = os.OpenFile(m.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	lines := bufio.NewScanner(m.file)
	lines.Buffer(nil, 2*maxValue)
	for lines.Scan() && !is("meta-forgets-at-restart") {
		it := &item{}
		if err := json.Unmarshal(lines.Bytes(), it); err != nil {
			return err
		}
		m.take(it)
	}
	m.changes, m.floor = nil, m.revision
	go m.expire(m.lock)
	return lines.Err()
}

func (m *memory) Deactivate(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.lock)
	return m.file.Close()
}

func (m *memory) Health(context.Context) error { return nil }

// take stores an item. It is called with mu held, as are the following.
func (m *memory) take(it *item) {
	m.revision = max(m.revision, it.Revision)
	if it.Gone {
		delete(m.items, [2]string{it.NS, it.Key})
	} else {
		m.items[[2]string{it.NS, it.Key}] = it
	}
	m.changes = append(m.changes, it)
}

func (m *memory) write(it *item) error {
	line, err := json.Marshal(it)
	if err != nil {
		return err
	}
	if _, err := m.file.Write(append(line, '\n')); err != nil {
		return err
	}
	m.take(it)
	return nil
}

func (m *memory) tell() {
	close(m.wake)
	m.wake = make(chan struct{})
}

// expire removes expired entries until the plugin is deactivated.
func (m *memory) expire(until chan struct{}) {
	for {
		select {
		case <-until:
			return
		case <-time.After(50 * time.Millisecond):
		}
		m.mu.Lock()
		for _, it := range m.items {
			early := int64(0)
			if is("meta-expires-early") {
				early = (25 * time.Hour).Milliseconds() // practically all entries, at once
			}
			if it.Expires != 0 && it.Expires-early <= time.Now().UnixMilli() && !is("meta-ignores-ttl") {
				m.revision++
				_ = m.write(&item{NS: it.NS, Key: it.Key, Revision: m.revision, Gone: true})
			}
		}
		m.tell()
		m.mu.Unlock()
	}
}

func (m *memory) Get(_ context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[[2]string{r.GetNamespace(), keyOf(r.GetKey())}]
	if it == nil {
		return &pluginv1.GetResponse{}, nil
	}
	return &pluginv1.GetResponse{Found: true, Entry: it.entry()}, nil
}

// keyOf returns the stored form of a key.
func keyOf(key string) string {
	if is("meta-trims-keys") {
		return strings.TrimSpace(key)
	}
	return key
}

func (m *memory) List(_ context.Context, r *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	m.mu.Lock()
	var found []*pluginv1.Entry
	for id, it := range m.items {
		if id[0] == r.GetNamespace() && strings.HasPrefix(id[1], r.GetPrefix()) {
			found = append(found, it.entry())
		}
	}
	revision := m.revision
	m.mu.Unlock()
	if !is("meta-lists-in-no-order") {
		slices.SortFunc(found, func(a, b *pluginv1.Entry) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	}
	page, size := &pluginv1.ListResponse{Revision: revision}, 0
	for i, e := range found {
		if is("meta-drops-the-end-of-a-list") && len(found) > 100 && i == len(found)-1 {
			break
		}
		if (r.GetPageSize() > 0 && len(page.GetEntries()) >= int(r.GetPageSize()) || size > 1<<20) && !is("meta-huge-page") {
			if err := send(page); err != nil {
				return err
			}
			page, size = &pluginv1.ListResponse{Revision: revision}, 0
		}
		page.Entries = append(page.Entries, e)
		size += len(e.GetValue())
	}
	return send(page)
}

func (m *memory) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	if is("meta-hangs") {
		time.Sleep(time.Hour)
	}
	if is("meta-checks-before-the-lock") && r.GetExpect() != nil {
		have, _ := m.Get(ctx, &pluginv1.GetRequest{Namespace: r.GetNamespace(), Key: r.GetKey()})
		if have.GetEntry().GetRevision() != r.GetExpect().GetRevision() {
			return &pluginv1.PutResponse{Current: have.GetEntry()}, nil
		}
		m.conditional.wait(2 * time.Second)
		r = &pluginv1.PutRequest{Namespace: r.GetNamespace(), Key: r.GetKey(), Value: r.GetValue()}
	}
	done, revision, current, _, err := m.apply([]*pluginv1.Operation{{Kind: &pluginv1.Operation_Put{Put: r}}})
	return &pluginv1.PutResponse{Done: done, Revision: revision, Current: current}, err
}

func (m *memory) Delete(_ context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	done, revision, current, _, err := m.apply([]*pluginv1.Operation{{Kind: &pluginv1.Operation_Delete{Delete: r}}})
	return &pluginv1.DeleteResponse{Done: done, Revision: revision, Current: current}, err
}

func (m *memory) Batch(_ context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	done, revision, _, failed, err := m.apply(r.GetOperations())
	return &pluginv1.BatchResponse{Done: done, Revision: revision, FailedIndex: failed}, err
}

// apply executes operations atomically, each with a revision of its own.
func (m *memory) apply(ops []*pluginv1.Operation) (done bool, revision int64, current *pluginv1.Entry, failed uint32, err error) {
	if is("meta-waits-for-slow-watches") {
		m.sending.Lock()
		defer m.sending.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.tell()
	large := false
	for _, op := range ops {
		if op.GetKind() == nil {
			return false, 0, nil, 0, status.Error(codes.InvalidArgument, "an operation is neither put nor delete")
		}
		large = large || len(op.GetPut().GetValue()) > maxValue
	}
	switch exhausted := status.Errorf(codes.ResourceExhausted, "a value has up to %d bytes", maxValue); {
	case large && is("meta-writes-what-it-refuses"):
		_, _, _, _, _ = m.carryOut(ops)
		return false, 0, nil, 0, exhausted
	case large && !is("meta-takes-any-value"):
		return false, 0, nil, 0, exhausted
	}
	return m.carryOut(ops)
}

func (m *memory) carryOut(ops []*pluginv1.Operation) (done bool, revision int64, current *pluginv1.Entry, failed uint32, err error) {
	if !is("meta-applies-half-a-batch") {
		revision := m.revision
		after := map[[2]string]int64{}
		for i, op := range ops {
			id, expect := target(op)
			have, changed := after[id]
			it := m.items[id]
			if !changed && it != nil {
				have = it.Revision
			}
			if expect != nil && expect.GetRevision() != have {
				if it != nil {
					current = it.entry()
				}
				return false, m.revision, current, uint32(i), nil
			}
			revision++
			if after[id] = revision; op.GetDelete() != nil {
				after[id] = 0
			}
		}
	}
	for i, op := range ops {
		id, expect := target(op)
		it := m.items[id]
		if is("meta-applies-half-a-batch") && expect != nil && expect.GetRevision() != revisionOf(it) {
			if it != nil {
				current = it.entry()
			}
			return false, m.revision, current, uint32(i), nil
		}
		next := &item{NS: id[0], Key: id[1], Gone: op.GetDelete() != nil}
		if put := op.GetPut(); put != nil {
			next.Value = valueOf(put.GetValue())
			if put.GetTtlMs() > 0 {
				next.Expires = time.Now().UnixMilli() + put.GetTtlMs()
			}
		} else if it == nil {
			continue // nothing to remove
		}
		m.revision++
		next.Revision = m.revision
		if is("meta-loses-a-revision") && !next.Gone && it != nil {
			next.Revision, m.revision = it.Revision, m.revision-1 // as if nothing had changed
		}
		if err := m.write(next); err != nil {
			return false, 0, nil, 0, status.Error(codes.Unavailable, err.Error())
		}
	}
	return true, m.revision, nil, 0, nil
}

func revisionOf(it *item) int64 {
	if it == nil {
		return 0
	}
	return it.Revision
}

// valueOf returns the stored form of a value.
func valueOf(value []byte) []byte {
	if is("meta-cuts-values-at-nul") {
		text, _, _ := strings.Cut(string(value), "\x00")
		return []byte(text)
	}
	return value
}

func target(op *pluginv1.Operation) (id [2]string, expect *pluginv1.Expect) {
	if p := op.GetPut(); p != nil {
		return [2]string{p.GetNamespace(), keyOf(p.GetKey())}, p.GetExpect()
	}
	d := op.GetDelete()
	return [2]string{d.GetNamespace(), keyOf(d.GetKey())}, d.GetExpect()
}
