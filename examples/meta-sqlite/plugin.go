package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// version is the plugin's own version, shown to operators.
const version = "1.0.0"

// Limits, in bytes. The limit of values is declared; both are far below the contract's gRPC message size, 16 MiB.
const (
	maxValueBytes = 3 << 20
	maxKeyBytes   = 64 << 10
)

// plugin answers the gateway's calls; database.go has the database.
type plugin struct {
	config config
	path   string
	log    *slog.Logger

	mu sync.RWMutex
	db *database // nil unless active
}

var (
	_ sdk.MetaPlugin = (*plugin)(nil)
	_ sdk.Watcher    = (*plugin)(nil)
)

func newPlugin() *plugin { return &plugin{log: slog.New(slog.DiscardHandler)} }

// Info implements sdk.Plugin, as do the following. The plugin is not exclusive: SQLite lets several processes of one machine share a file,
// so a process can be swapped without a pause.
func (p *plugin) Info() sdk.Info {
	return sdk.Info{Name: "meta-sqlite", Version: version, Config: config{}}
}

func (p *plugin) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	if problems := setup.Decode(&p.config); len(problems) > 0 {
		return problems
	}
	if setup.Log != nil {
		p.log = setup.Log
	}
	p.path = p.config.file(setup)
	return nil
}

func (p *plugin) Activate(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	db, err := openDatabase(ctx, p.path, p.config.PollInterval, p.log)
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	p.db = db
	return nil
}

func (p *plugin) Deactivate(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	db := p.db
	p.db = nil
	if db == nil {
		return nil
	}
	return db.close()
}

func (p *plugin) Health(context.Context) error {
	db, err := p.opened()
	if err != nil {
		return err
	}
	return db.health()
}

func (p *plugin) opened() (*database, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.db == nil {
		return nil, status.Error(codes.Unavailable, "the database is not open")
	}
	return p.db, nil
}

// Traits implements sdk.MetaPlugin, as do the following.
func (p *plugin) Traits() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{
		Watch: true, CompareAndSet: true, Ttl: true, AtomicBatch: true, MaxValueBytes: maxValueBytes,
	}
}

func (p *plugin) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	db, err := p.opened()
	if err != nil {
		return nil, err
	}
	e, err := db.get(ctx, db.read, r.GetNamespace(), r.GetKey())
	if err != nil {
		return nil, failure(err)
	}
	return &pluginv1.GetResponse{Found: e != nil, Entry: e}, nil
}

// List reads page by page, so that a slow reader blocks nobody. Changes made meanwhile are later than the revision taken before the first
// page, so a watch from that revision reports them.
func (p *plugin) List(ctx context.Context, r *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	db, err := p.opened()
	if err != nil {
		return err
	}
	revision, _, err := db.counter(ctx, db.read)
	if err != nil {
		return failure(err)
	}
	start := r.GetPrefix()
	for first := true; ; first = false {
		entries, err := db.page(ctx, r.GetNamespace(), r.GetPrefix(), start, int(r.GetPageSize()))
		if err != nil {
			return failure(err)
		}
		if len(entries) > 0 || first { // a page carries the revision, so there is always one
			if err := send(&pluginv1.ListResponse{Entries: entries, Revision: revision}); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return nil
		}
		start = entries[len(entries)-1].GetKey() + "\x00" // the lowest key after the last one
	}
}

func (p *plugin) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	res, err := p.apply(ctx, &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: r}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.PutResponse{Done: res.done, Revision: res.revision, Current: res.current}, nil
}

func (p *plugin) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	res, err := p.apply(ctx, &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: r}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.DeleteResponse{Done: res.done, Revision: res.revision, Current: res.current}, nil
}

func (p *plugin) Batch(ctx context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	res, err := p.apply(ctx, r.GetOperations()...)
	if err != nil {
		return nil, err
	}
	return &pluginv1.BatchResponse{Done: res.done, Revision: res.revision, FailedIndex: uint32(res.failed)}, nil
}

func (p *plugin) apply(ctx context.Context, ops ...*pluginv1.Operation) (result, error) {
	db, err := p.opened()
	if err != nil {
		return result{}, err
	}
	for i, op := range ops {
		t := target(op)
		switch {
		case op.GetKind() == nil || t.ns == "":
			return result{}, status.Errorf(codes.InvalidArgument, "operation %d needs a kind and a namespace", i)
		case len(t.ns)+len(t.key) > maxKeyBytes || len(t.value) > maxValueBytes:
			return result{}, status.Errorf(codes.ResourceExhausted,
				"operation %d: a key has at most %d bytes, a value at most %d", i, maxKeyBytes, maxValueBytes)
		}
	}
	res, err := db.apply(ctx, ops)
	return res, failure(err)
}

// Watch implements sdk.Watcher.
func (p *plugin) Watch(ctx context.Context, r *pluginv1.WatchRequest, send func(*pluginv1.WatchResponse) error) error {
	db, err := p.opened()
	if err != nil {
		return err
	}
	for after := r.GetAfterRevision(); ; {
		changed := db.changed() // before reading, so that nothing is missed between the two
		resp, err := db.since(ctx, r.GetNamespace(), r.GetPrefix(), after)
		if err != nil {
			return failure(err)
		}
		if len(resp.GetEvents()) > 0 || resp.GetCompacted() {
			if err := send(resp); err != nil {
				return err
			}
		}
		switch {
		case resp.GetCompacted():
			return nil
		case resp.GetRevision() > after:
			after = resp.GetRevision()
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// failure maps an error of the database to a gRPC code; nil stays nil.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if wrong, ok := errors.AsType[*sqlite.Error](err); ok && wrong.Code()&0xff == sqlite3.SQLITE_FULL {
		return status.Errorf(codes.ResourceExhausted, "the database or its disk is full: %v", err)
	}
	return status.Error(codes.Unavailable, err.Error())
}
