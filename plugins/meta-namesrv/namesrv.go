package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/internal/once"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/remoting"
)

// Bounds of a page of a listing.
const (
	pageEntries = 512
	pageBytes   = 1 << 20
)

// namesrv is the plugin.
type namesrv struct {
	log    *slog.Logger
	config config
	client remoting.Config
	// foreign remembers the foreign keys that were logged.
	foreign once.Keys

	mu      sync.RWMutex
	conn    *remoting.Client
	cluster *cluster // nil unless active
}

var _ sdk.MetaPlugin = (*namesrv)(nil)

func newNamesrv() *namesrv { return &namesrv{log: slog.New(slog.DiscardHandler)} }

// Info implements sdk.Plugin, as do the following.
func (n *namesrv) Info() sdk.Info {
	return sdk.Info{Name: "meta-namesrv", Version: buildVersion, Config: config{}}
}

func (n *namesrv) Traits() *pluginv1.MetaTraits {
	return &pluginv1.MetaTraits{MaxValueBytes: maxValueBytes, MaxKeys: maxKeys, MaxTotalBytes: maxTotalBytes, Shared: true}
}

func (n *namesrv) Configure(_ context.Context, setup sdk.Setup) []sdk.Problem {
	var c config
	if problems := setup.Decode(&c); len(problems) > 0 {
		return problems
	}
	client, problems := c.client(setup)
	if n.config, n.client = c, client; setup.Log != nil {
		n.log = setup.Log
	}
	return problems
}

func (n *namesrv) Activate(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cluster == nil {
		n.conn = remoting.New(n.client)
		n.cluster = startCluster(n.config.Namesrv, n.conn, n.log)
	}
	return nil
}

func (n *namesrv) Deactivate(context.Context) error {
	n.mu.Lock()
	c, conn := n.cluster, n.conn
	n.cluster, n.conn = nil, nil
	n.mu.Unlock()
	if c == nil {
		return nil
	}
	c.close()
	if conn == nil {
		return nil
	}
	return conn.Close()
}

func (n *namesrv) Health(context.Context) error {
	c, err := n.active()
	if err != nil {
		return err
	}
	return c.answering()
}

func (n *namesrv) active() (*cluster, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.cluster == nil {
		return nil, status.Error(codes.Unavailable, "the plugin is not active")
	}
	return n.cluster, nil
}

// Get implements sdk.MetaPlugin, as do the following.
func (n *namesrv) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	c, err := n.active()
	if err != nil {
		return nil, err
	}
	e, err := entry(ctx, c, r.GetNamespace(), r.GetKey())
	if err != nil {
		return nil, failure(err)
	}
	return &pluginv1.GetResponse{Found: e != nil, Entry: e}, nil
}

func entry(ctx context.Context, c *cluster, ns, key string) (*pluginv1.Entry, error) {
	it, found, err := c.get(ctx, ns, key)
	if err != nil || !found {
		return nil, err
	}
	return &pluginv1.Entry{Namespace: ns, Key: key, Value: it.value, Revision: c.revision(ns, key, it)}, nil
}

func (n *namesrv) List(ctx context.Context, r *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	c, err := n.active()
	if err != nil {
		return err
	}
	ns := r.GetNamespace()
	items, err := c.list(ctx, ns)
	if err != nil {
		return failure(err)
	}
	var entries []*pluginv1.Entry
	for text, it := range items {
		key, ok := text, true
		if ns != upstream {
			key, ok = decodeKey(text)
		}
		if !ok {
			if n.foreign.First(ns + "\x00" + text) {
				n.log.Warn("kvconfig key passed over: it is not one of ours; remove it with mqadmin deleteKvConfig",
					"namespace", ns, "key", fmt.Sprintf("%q", text))
			}
			continue
		}
		if revision := c.revision(ns, key, it); !it.removed && strings.HasPrefix(key, r.GetPrefix()) {
			entries = append(entries, &pluginv1.Entry{Namespace: ns, Key: key, Value: it.value, Revision: revision})
		}
	}
	slices.SortFunc(entries, func(a, b *pluginv1.Entry) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	revision := c.now()
	limit := pageEntries
	if p := int(r.GetPageSize()); p > 0 {
		limit = min(limit, p)
	}
	for first := true; first || len(entries) > 0; first = false {
		size, i := 0, 0
		for i < len(entries) && i < limit && size < pageBytes {
			size += len(entries[i].GetKey()) + len(entries[i].GetValue())
			i++
		}
		if err := send(&pluginv1.ListResponse{Entries: entries[:i], Revision: revision}); err != nil {
			return err
		}
		entries = entries[i:]
	}
	return nil
}

func (n *namesrv) Put(ctx context.Context, r *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	res, current, err := n.apply(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Put{Put: r}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.PutResponse{Done: res.GetDone(), Revision: res.GetRevision(), Current: current}, nil
}

func (n *namesrv) Delete(ctx context.Context, r *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	res, current, err := n.apply(ctx, []*pluginv1.Operation{{Kind: &pluginv1.Operation_Delete{Delete: r}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.DeleteResponse{Done: res.GetDone(), Revision: res.GetRevision(), Current: current}, nil
}

func (n *namesrv) Batch(ctx context.Context, r *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	res, _, err := n.apply(ctx, r.GetOperations())
	return res, err
}

// apply executes operations in order, with one revision for all. Expectations are checked before anything is written; this is not a
// compare-and-set, and the traits say so.
func (n *namesrv) apply(ctx context.Context, ops []*pluginv1.Operation) (*pluginv1.BatchResponse, *pluginv1.Entry, error) {
	c, err := n.active()
	if err != nil {
		return nil, nil, err
	}
	for i, op := range ops {
		ns, key, expect, err := check(op)
		if err != nil {
			return nil, nil, err
		}
		c.uses(ns)
		if expect == nil {
			continue
		}
		have, err := entry(ctx, c, ns, key)
		if err != nil {
			return nil, nil, failure(err)
		}
		if have.GetRevision() != expect.GetRevision() {
			return &pluginv1.BatchResponse{FailedIndex: uint32(i), Revision: c.now()}, have, nil
		}
	}
	if len(ops) == 0 {
		return &pluginv1.BatchResponse{Done: true, Revision: c.now()}, nil, nil
	}
	s := stamp{c.tick(), c.writer}
	changes := make([]change, len(ops))
	for i, op := range ops {
		changes[i] = encodeChange(op, s, len(c.peers) > 1)
	}
	if err := c.usage.room(changes); err != nil {
		return nil, nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if err := c.write(ctx, changes); err != nil {
		return nil, nil, failure(err)
	}
	c.usage.wrote(changes)
	for _, ch := range changes {
		if ch.ns == upstream && ch.value != nil {
			c.wroteForeign(ch.ns, ch.key, *ch.value, s.revision)
		}
	}
	return &pluginv1.BatchResponse{Done: true, Revision: s.revision}, nil, nil
}

// check refuses operations that kvconfig cannot hold.
func check(op *pluginv1.Operation) (ns, key string, expect *pluginv1.Expect, err error) {
	var value []byte
	if p := op.GetPut(); p != nil {
		ns, key, expect, value = p.GetNamespace(), p.GetKey(), p.GetExpect(), p.GetValue()
	} else if d := op.GetDelete(); d != nil {
		ns, key, expect = d.GetNamespace(), d.GetKey(), d.GetExpect()
	}
	switch {
	case op.GetKind() == nil:
		err = status.Error(codes.InvalidArgument, "an operation is neither put nor delete")
	case ns == "" || encodeKey(ns) != ns:
		err = status.Errorf(codes.InvalidArgument, "namespace %q: kvconfig needs printable ASCII", ns)
	case ns == upstream && key == "":
		err = status.Error(codes.InvalidArgument, "the namespace LMQ has no empty key")
	case len(value) > maxValueBytes:
		err = status.Errorf(codes.ResourceExhausted, "the value of %s %q has %d bytes, kvconfig takes up to %d: %s",
			ns, key, len(value), maxValueBytes, remedy)
	}
	return ns, key, expect, err
}

// encodeChange turns an operation into a request for a name server. With several name servers, which may disagree, a removal leaves a
// tombstone.
func encodeChange(op *pluginv1.Operation, s stamp, several bool) change {
	if p := op.GetPut(); p != nil {
		raw := string(p.GetValue())
		if p.GetNamespace() == upstream {
			return change{ns: upstream, key: p.GetKey(), value: &raw}
		}
		raw = encodeItem(s, false, p.GetValue())
		return change{ns: p.GetNamespace(), key: encodeKey(p.GetKey()), value: &raw}
	}
	d := op.GetDelete()
	switch {
	case d.GetNamespace() == upstream:
		return change{ns: upstream, key: d.GetKey()}
	case several:
		raw := encodeItem(s, true, nil)
		return change{ns: d.GetNamespace(), key: encodeKey(d.GetKey()), value: &raw}
	default:
		return change{ns: d.GetNamespace(), key: encodeKey(d.GetKey())}
	}
}

// failure maps an error of the name servers to a gRPC code.
func failure(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && status.Code(err) == codes.Unknown {
		if s := status.FromContextError(err); s.Code() != codes.Unknown {
			return s.Err()
		}
	}
	return status.Error(codes.Unavailable, strings.ReplaceAll(err.Error(), "\n", "; "))
}
