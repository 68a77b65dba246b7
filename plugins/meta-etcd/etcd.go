package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/internal/once"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// Bounds of a page of a listing. etcd pages by number of entries, so each page's number is derived from the size of the last page's
// entries.
const (
	firstPage   = 64
	maxPage     = 1000
	pageBytes   = 1 << 20
	healthLimit = time.Second
)

// etcd is the plugin.
type etcd struct {
	log    *slog.Logger
	config config
	client clientv3.Config
	keys   keys
	// foreign remembers the foreign keys that were logged.
	foreign once.Keys

	mu      sync.RWMutex
	current *session // nil unless active
}

// session is what Activate opens.
type session struct {
	connection *connection
	leases     *leases
	horizon    *horizon
}

var (
	_ sdk.MetaPlugin = (*etcd)(nil)
	_ sdk.Watcher    = (*etcd)(nil)
)

var errNotActive = errors.New("the plugin is not active")

func newEtcd() *etcd { return &etcd{log: slog.New(slog.DiscardHandler)} }

// Info implements sdk.Plugin, as do the following.
func (e *etcd) Info() sdk.Info {
	return sdk.Info{Name: "meta-etcd", Version: buildVersion, Config: config{}}
}

func (e *etcd) Traits() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{Watch: true, CompareAndSet: true, Ttl: true, AtomicBatch: true, MaxValueBytes: maxValueBytes, Shared: true}
}

func (e *etcd) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	var c config
	if problems := setup.Decode(&c); len(problems) > 0 {
		return problems
	}
	client, problems := c.client(setup)
	if e.config, e.client, e.keys = c, client, newKeys(c.Prefix); setup.Log != nil {
		e.log = setup.Log
	}
	return problems
}

func (e *etcd) Activate(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		e.current = &session{connection: connect(e.client, e.log), leases: newLeases(), horizon: newHorizon()}
	}
	return nil
}

func (e *etcd) Deactivate(context.Context) error {
	e.mu.Lock()
	s := e.current
	e.current = nil
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.connection.close()
}

// Health reads a key that never exists. The read is linearizable, so it needs a quorum.
func (e *etcd) Health(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, min(healthLimit, e.config.RequestTimeout))
	defer cancel()
	_, err := e.get(ctx, e.keys.prefix, clientv3.WithCountOnly())
	if err == nil || parent.Err() != nil {
		return parent.Err()
	}
	_, text := e.diagnose(err)
	return errors.New(text)
}

// open returns the session that Activate opened, and its client.
func (e *etcd) open(ctx context.Context) (*session, *clientv3.Client, error) {
	e.mu.RLock()
	s := e.current
	e.mu.RUnlock()
	if s == nil {
		return nil, nil, errNotActive
	}
	client, err := s.connection.get(ctx)
	return s, client, err
}

// limit bounds one request. It also makes a member without a leader fail at once.
func (e *etcd) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(clientv3.WithRequireLeader(ctx), e.config.RequestTimeout)
}

// get reads names, linearizable.
func (e *etcd) get(parent context.Context, name string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := e.limit(parent)
	defer cancel()
	s, client, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	before := s.horizon.seen()
	resp, err := client.Get(ctx, name, opts...)
	if err == nil {
		s.horizon.answered(before, resp.Header.Revision)
	}
	return resp, err
}

func entry(ns, key string, kv *mvccpb.KeyValue) *pluginv1.Entry {
	return &pluginv1.Entry{Namespace: ns, Key: key, Value: kv.Value, Revision: kv.ModRevision}
}

// Get implements sdk.MetaPlugin, as do the following.
func (e *etcd) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	if err := check(r.GetNamespace(), r.GetKey(), nil); err != nil {
		return nil, err
	}
	resp, err := e.get(ctx, e.keys.name(r.GetNamespace(), r.GetKey()))
	if err != nil {
		return nil, e.failure(ctx, err)
	}
	if len(resp.Kvs) == 0 {
		return &pluginv1.GetResponse{}, nil
	}
	return &pluginv1.GetResponse{Found: true, Entry: entry(r.GetNamespace(), r.GetKey(), resp.Kvs[0])}, nil
}

func (e *etcd) List(ctx context.Context, r *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	if err := check(r.GetNamespace(), r.GetPrefix(), nil); err != nil {
		return err
	}
	ns := e.keys.namespace(r.GetNamespace())
	next, end := ns+r.GetPrefix(), ends(ns+r.GetPrefix())
	most := maxPage
	if p := int(r.GetPageSize()); p > 0 {
		most = min(most, p)
	}
	revision := int64(0) // of the first page: the following pages are read at this revision
	for ask := min(firstPage, most); ; {
		resp, err := e.get(ctx, next, clientv3.WithRange(end), clientv3.WithLimit(int64(ask)), clientv3.WithRev(revision))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return status.Error(codes.Unavailable, "etcd was compacted during the listing; list again")
		}
		if err != nil {
			return e.failure(ctx, err)
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		size := 0
		page := &pluginv1.ListResponse{Revision: revision}
		for _, kv := range resp.Kvs {
			if !e.ours(kv.Key) {
				continue
			}
			if len(page.Entries) > 0 && size+len(kv.Value) > pageBytes {
				if err := send(page); err != nil {
					return err
				}
				size, page = 0, &pluginv1.ListResponse{Revision: revision}
			}
			size += len(kv.Key) + len(kv.Value)
			page.Entries = append(page.Entries, entry(r.GetNamespace(), string(kv.Key[len(ns):]), kv))
		}
		if err := send(page); err != nil {
			return err
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		next = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		ask = max(1, min(most, 2*ask, ask*pageBytes/max(total(resp.Kvs), 1)))
	}
}

// ours reports whether a key can be passed to the gateway at all: names must be UTF-8, and another program may have written anything.
func (e *etcd) ours(name []byte) bool {
	if utf8.Valid(name) {
		return true
	}
	if e.foreign.First(string(name)) {
		e.log.Warn("etcd key passed over: it is not UTF-8 text; remove it with etcdctl", "key", fmt.Sprintf("%q", name))
	}
	return false
}

func total(kvs []*mvccpb.KeyValue) (bytes int) {
	for _, kv := range kvs {
		bytes += len(kv.Key) + len(kv.Value)
	}
	return bytes
}
