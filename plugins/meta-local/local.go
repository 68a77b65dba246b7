package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// maxValueBytes keeps an entry well below the size of a gRPC message.
const maxValueBytes = 3 << 20

// local is the plugin.
type local struct {
	log  *slog.Logger
	path string

	mu   sync.RWMutex
	open *openFile // nil unless active
}

// openFile is what Activate opens.
type openFile struct {
	file    *file
	commits *committer
}

var (
	_ sdk.MetaPlugin = (*local)(nil)
	_ sdk.Watcher    = (*local)(nil)
)

func newLocal() *local { return &local{log: slog.New(slog.DiscardHandler)} }

// Info implements sdk.Plugin, as do the following.
func (l *local) Info() sdk.Info {
	return sdk.Info{Name: "meta-local", Version: buildVersion, Config: config{}, Exclusive: true}
}

func (l *local) Traits() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{Watch: true, CompareAndSet: true, Ttl: true, AtomicBatch: true, MaxValueBytes: maxValueBytes}
}

func (l *local) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	var c config
	if problems := setup.Decode(&c); len(problems) > 0 {
		return problems
	}
	if l.path = c.file(setup); setup.Log != nil {
		l.log = setup.Log
	}
	return nil
}

func (l *local) Activate(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		return nil
	}
	f, err := openDB(l.path, time.Second)
	if err != nil {
		return err
	}
	l.open = &openFile{file: f, commits: startCommitter(f, l.log)}
	l.log.Info("metadata file opened", "path", l.path, "revision", f.changes.revision())
	return nil
}

func (l *local) Deactivate(context.Context) error {
	l.mu.Lock()
	o := l.open
	l.open = nil
	l.mu.Unlock()
	if o == nil {
		return nil
	}
	o.commits.close()
	return o.file.close()
}

func (l *local) Health(context.Context) error {
	o, err := l.opened()
	if err != nil {
		return err
	}
	return o.commits.health()
}

func (l *local) opened() (*openFile, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.open == nil {
		return nil, status.Error(codes.Unavailable, "the metadata file is not open")
	}
	return l.open, nil
}

// Get implements sdk.MetaPlugin, as do the following.
func (l *local) Get(_ context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	o, err := l.opened()
	if err != nil {
		return nil, err
	}
	e, err := o.file.get(r.GetNamespace(), r.GetKey())
	if err != nil {
		return nil, failure(err)
	}
	return &pluginv1.GetResponse{Found: e != nil, Entry: e}, nil
}

func (l *local) List(ctx context.Context, r *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	o, err := l.opened()
	if err != nil {
		return err
	}
	// Pages are read one by one, so that a slow reader blocks nobody. Changes made meanwhile are later than the revision taken before the
	// first page, so a watch from that revision reports them.
	revision := o.file.changes.revision()
	cursor := ""
	for first := true; ; first = false {
		entries, next, err := o.file.page(r.GetNamespace(), r.GetPrefix(), cursor, int(r.GetPageSize()))
		if err != nil {
			return failure(err)
		}
		if len(entries) > 0 || first {
			if err := send(&pluginv1.ListResponse{Entries: entries, Revision: revision}); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		if cursor = next; ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (l *local) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	res, err := l.commit(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Put{Put: r}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.PutResponse{Done: res.done, Revision: res.revision, Current: res.current}, nil
}

func (l *local) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	res, err := l.commit(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Delete{Delete: r}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.DeleteResponse{Done: res.done, Revision: res.revision, Current: res.current}, nil
}

func (l *local) Batch(ctx context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	res, err := l.commit(ctx, r.GetOperations())
	if err != nil {
		return nil, err
	}
	return &pluginv1.BatchResponse{Done: res.done, Revision: res.revision, FailedIndex: uint32(res.failed)}, nil
}

func (l *local) commit(ctx context.Context, ops []*pluginv1.Operation) (result, error) {
	o, err := l.opened()
	if err != nil {
		return result{}, err
	}
	if err := validate(ops); err != nil {
		return result{}, err
	}
	res, err := o.commits.do(ctx, ops)
	if err != nil {
		return result{}, failure(err)
	}
	return res, nil
}

// Watch implements sdk.Watcher.
func (l *local) Watch(ctx context.Context, r *pluginv1.WatchRequest, send func(*pluginv1.WatchResponse) error) error {
	o, err := l.opened()
	if err != nil {
		return err
	}
	return o.file.changes.watch(ctx, r.GetNamespace(), r.GetPrefix(), r.GetAfterRevision(), send)
}

// failure maps an error of the file to a gRPC code.
func failure(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return status.Error(codes.ResourceExhausted, fmt.Sprintf("the disk of the metadata file is full: %v", err))
	default:
		return status.Error(codes.Unavailable, err.Error())
	}
}

// validate refuses operations that the file cannot hold, with a gRPC code.
func validate(ops []*pluginv1.Operation) error {
	for i, op := range ops {
		ns, key, value := op.GetDelete().GetNamespace(), op.GetDelete().GetKey(), []byte(nil)
		if p := op.GetPut(); p != nil {
			ns, key, value = p.GetNamespace(), p.GetKey(), p.GetValue()
		}
		switch {
		case op.GetKind() == nil:
			return status.Errorf(codes.InvalidArgument, "operation %d is neither put nor delete", i)
		case ns == "" || len(ns) > 1024:
			return status.Errorf(codes.InvalidArgument, "operation %d: a namespace has 1 to 1024 bytes, not %d", i, len(ns))
		case len(key) > maxKeyBytes:
			return status.Errorf(codes.ResourceExhausted, "operation %d: a key has up to %d bytes, not %d", i, maxKeyBytes, len(key))
		case len(value) > maxValueBytes:
			return status.Errorf(
				codes.ResourceExhausted,
				"operation %d: the value of %s %q has %d bytes, at most %d are possible",
				i,
				ns,
				key,
				len(value),
				maxValueBytes,
			)
		}
	}
	return nil
}
