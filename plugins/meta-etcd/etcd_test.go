package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// A stopped etcd member leaves HTTP connections with its peers open until they time out. The plugin itself does not use HTTP/1.
func TestMain(m *testing.M) {
	options := []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
	goleak.VerifyTestMain(leftover.Patient(m, options...), options...)
}

// activate starts a plugin and releases it with the test.
// activate returns a plugin that etcd serves. Its requests may take long, because on a busy machine they do; a test that waits for their end
// configures another request_timeout.
func activate(t testing.TB, endpoints []string, more map[string]any) *etcd {
	t.Helper()
	e := newEtcd()
	block := map[string]any{"endpoints": endpoints, "request_timeout": "30s"}
	maps.Copy(block, more)
	raw, err := json.Marshal(block)
	require.NoError(t, err)
	require.Empty(t, e.Configure(t.Context(), sdk.Setup{Config: raw}))
	require.NoError(t, e.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, e.Deactivate(context.Background())) })
	return e
}

func fresh(t testing.TB) (*etcd, *etcdtest.Cluster) {
	t.Helper()
	c := etcdtest.Start(t, etcdtest.Options{})
	return activate(t, c.Endpoints(), nil), c
}

// raw returns a plain etcd client.
func raw(t testing.TB, config clientv3.Config) *clientv3.Client {
	t.Helper()
	config.Logger = zap.NewNop()
	c, err := clientv3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func put(ns, key, value string) *pluginv1.PutRequest {
	return &pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte(value)}
}

func expecting(revision int64, r *pluginv1.PutRequest) *pluginv1.PutRequest {
	r.Expect = &pluginv1.Expect{Revision: revision}
	return r
}

func putOp(r *pluginv1.PutRequest) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: r}}
}

func deleteOp(ns, key string) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{Namespace: ns, Key: key}}}
}

func mustPut(t testing.TB, e *etcd, r *pluginv1.PutRequest) int64 {
	t.Helper()
	resp, err := e.Put(t.Context(), r)
	require.NoError(t, err)
	require.True(t, resp.GetDone())
	return resp.GetRevision()
}

func value(t testing.TB, e *etcd, ns, key string) string {
	t.Helper()
	resp, err := e.Get(t.Context(), &pluginv1.GetRequest{Namespace: ns, Key: key})
	require.NoError(t, err)
	if !resp.GetFound() {
		return "(absent)"
	}
	return string(resp.GetEntry().GetValue())
}

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 5*time.Millisecond)
}

// follow collects the events of a watch.
type follow struct {
	mu        sync.Mutex
	events    []*pluginv1.Event
	revision  int64
	compacted bool
	ended     chan struct{}
	err       error // once ended
}

func watch(t testing.TB, e *etcd, ns, prefix string, after int64) *follow {
	f := &follow{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(f.ended)
		f.err = e.Watch(
			ctx,
			&pluginv1.WatchRequest{Namespace: ns, Prefix: prefix, AfterRevision: after},
			func(r *pluginv1.WatchResponse) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.events = append(f.events, r.GetEvents()...)
				f.revision = r.GetRevision()
				f.compacted = f.compacted || r.GetCompacted()
				return nil
			},
		)
	}()
	t.Cleanup(func() { cancel(); <-f.ended })
	return f
}

// told returns what the watch has reported so far.
func (f *follow) told() (events []*pluginv1.Event, revision int64, compacted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events), f.revision, f.compacted
}

func (f *follow) len() int {
	events, _, _ := f.told()
	return len(events)
}

func TestValuesAreKeptUnderReadableAndDistinctNames(t *testing.T) {
	e, c := fresh(t)
	first := mustPut(t, e, put("a", "", "empty key"))
	second := mustPut(t, e, put("a", "t/ü,%/#", "v"))
	mustPut(t, e, put("a/t", "ü", "other"))
	require.Greater(t, second, first)
	require.Equal(t, "empty key", value(t, e, "a", ""))
	require.Equal(t, "v", value(t, e, "a", "t/ü,%/#"))
	require.Equal(t, "other", value(t, e, "a/t", "ü"))
	require.Equal(t, "(absent)", value(t, e, "b", "t/ü,%/#"))
	require.NoError(t, e.Health(t.Context()))

	resp, err := raw(t, clientv3.Config{Endpoints: c.Endpoints()}).Get(t.Context(), "/lmqgate/a/t/ü,%/#")
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	require.Equal(t, second, resp.Kvs[0].ModRevision)

	other := activate(t, c.Endpoints(), map[string]any{"prefix": "other/"})
	require.Equal(t, "(absent)", value(t, other, "a", ""))
}

func TestExpectationsDecideWhetherAnythingIsWritten(t *testing.T) {
	e, _ := fresh(t)
	ctx := t.Context()
	revision := mustPut(t, e, expecting(0, put("a", "k", "1")))
	resp, err := e.Put(ctx, expecting(0, put("a", "k", "2")))
	require.NoError(t, err)
	require.False(t, resp.GetDone())
	require.Equal(t, revision, resp.GetCurrent().GetRevision())
	require.Equal(t, "1", string(resp.GetCurrent().GetValue()))
	resp, err = e.Put(ctx, expecting(revision, put("a", "gone", "2")))
	require.NoError(t, err)
	require.False(t, resp.GetDone())
	require.Nil(t, resp.GetCurrent())

	batch, err := e.Batch(ctx, &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{
		putOp(put("a", "other", "x")), putOp(expecting(0, put("a", "free", "x"))), putOp(expecting(0, put("a", "k", "3")))}})
	require.NoError(t, err)
	require.False(t, batch.GetDone())
	require.EqualValues(t, 2, batch.GetFailedIndex())
	require.Equal(t, "(absent)", value(t, e, "a", "other"))

	del, err := e.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k", Expect: &pluginv1.Expect{Revision: revision + 9}})
	require.NoError(t, err)
	require.False(t, del.GetDone())
	require.Equal(t, "1", string(del.GetCurrent().GetValue()))
	del, err = e.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k", Expect: &pluginv1.Expect{Revision: revision}})
	require.NoError(t, err)
	require.True(t, del.GetDone())
	require.Greater(t, del.GetRevision(), revision)
	del, err = e.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k"})
	require.NoError(t, err)
	require.True(t, del.GetDone(), "removing what is absent is no error")
}

func TestOneOfManyWritersWinsAnExpectation(t *testing.T) {
	e, _ := fresh(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		wg.Go(func() {
			resp, err := e.Put(context.Background(), expecting(0, put("a", "k", fmt.Sprint(i))))
			mu.Lock()
			defer mu.Unlock()
			if err == nil && resp.GetDone() {
				won++
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, won)
}

func TestOperationsOfABatchShareARevisionAndApplyInOrder(t *testing.T) {
	e, _ := fresh(t)
	batch := func(ops ...*pluginv1.Operation) *pluginv1.BatchResponse {
		resp, err := e.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops})
		require.NoError(t, err)
		return resp
	}
	resp := batch(putOp(put("a", "k", "1")), deleteOp("a", "k"), putOp(expecting(0, put("a", "k", "2"))), putOp(put("b", "k", "3")))
	require.True(t, resp.GetDone())
	require.Equal(t, "2", value(t, e, "a", "k"))
	get, err := e.Get(t.Context(), &pluginv1.GetRequest{Namespace: "b", Key: "k"})
	require.NoError(t, err)
	require.Equal(t, resp.GetRevision(), get.GetEntry().GetRevision())

	resp = batch(putOp(put("a", "k", "4")), putOp(expecting(0, put("a", "k", "5"))))
	require.False(t, resp.GetDone(), "the operation before makes the key present")
	require.EqualValues(t, 1, resp.GetFailedIndex())
	resp = batch(putOp(expecting(0, put("a", "k", "4"))), putOp(expecting(0, put("a", "k", "5"))))
	require.False(t, resp.GetDone())
	require.EqualValues(t, 0, resp.GetFailedIndex())
	require.Equal(t, "2", value(t, e, "a", "k"))
	resp = batch()
	require.True(t, resp.GetDone())
	require.Positive(t, resp.GetRevision())
}

func TestWhatEtcdCannotHoldIsRefusedWhole(t *testing.T) {
	e, _ := fresh(t)
	_, err := e.Put(t.Context(), put("", "k", "v"))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = e.Batch(t.Context(), &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{{}}})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	largest := string(make([]byte, maxValueBytes))
	mustPut(t, e, put("a", "k", largest))
	_, err = e.Put(t.Context(), put("a", "k", largest+"x"))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	_, err = e.Batch(
		t.Context(),
		&pluginv1.BatchRequest{Operations: []*pluginv1.Operation{putOp(put("a", "x", largest)), putOp(put("a", "y", largest))}},
	)
	require.Equal(t, codes.ResourceExhausted, status.Code(err), err)

	var ops []*pluginv1.Operation
	for i := range 129 {
		ops = append(ops, putOp(put("many", fmt.Sprint(i), "v")))
	}
	_, err = e.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "max-txn-ops")
	require.Equal(t, "(absent)", value(t, e, "many", "0"))
	_, err = e.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops[:128]})
	require.NoError(t, err)
}

func TestListingsArePagedInKeyOrderAtOneRevision(t *testing.T) {
	e, _ := fresh(t)
	for at := 0; at < 1300; at += 100 {
		var ops []*pluginv1.Operation
		for i := range 100 {
			ops = append(ops, putOp(put("a", fmt.Sprintf("p/%04d", at+i), "v")))
		}
		_, err := e.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops})
		require.NoError(t, err)
	}
	mustPut(t, e, put("ab", "p/", "another namespace"))
	revision := mustPut(t, e, put("a", "q", "v"))
	list := func(r *pluginv1.ListRequest) (keys []string, pages int) {
		require.NoError(t, e.List(t.Context(), r, func(p *pluginv1.ListResponse) error {
			if pages++; pages == 1 {
				mustPut(t, e, put("a", "p/9999", "later than the listing"))
			}
			require.Equal(t, revision, p.GetRevision())
			for _, en := range p.GetEntries() {
				keys = append(keys, en.GetKey())
			}
			return nil
		}))
		del, err := e.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "a", Key: "p/9999"})
		require.NoError(t, err)
		revision = del.GetRevision()
		return keys, pages
	}
	keys, pages := list(&pluginv1.ListRequest{Namespace: "a", Prefix: "p/"})
	require.Len(t, keys, 1300)
	require.IsIncreasing(t, keys)
	require.Greater(t, pages, 1)
	keys, pages = list(&pluginv1.ListRequest{Namespace: "a", Prefix: "p/00", PageSize: 30})
	require.Len(t, keys, 100)
	require.Equal(t, 4, pages)
	_, pages = list(&pluginv1.ListRequest{Namespace: "none"})
	require.Equal(t, 1, pages, "an empty listing still tells its revision")

	for i := range 6 {
		revision = mustPut(t, e, put("large", fmt.Sprint(i), string(make([]byte, 600<<10))))
	}
	require.NoError(t, e.List(t.Context(), &pluginv1.ListRequest{Namespace: "large"}, func(p *pluginv1.ListResponse) error {
		require.Len(t, p.GetEntries(), 1, "a page stays well inside a gRPC message")
		return nil
	}))
}

func TestAnEntryWithATTLDisappearsUnlessItIsPutAgain(t *testing.T) {
	t.Parallel()
	e, c := fresh(t)
	with := func(key string, ttl time.Duration) *pluginv1.PutRequest {
		r := put("a", key, "v")
		r.TtlMs = ttl.Milliseconds()
		return r
	}
	f := watch(t, e, "a", "", 0)
	begin := time.Now()
	for i := range 20 {
		mustPut(t, e, with(fmt.Sprint("short", i), 3*time.Second))
	}
	mustPut(t, e, with("kept", 3*time.Second))
	mustPut(t, e, put("a", "kept", "v"))
	leases, err := raw(t, clientv3.Config{Endpoints: c.Endpoints()}).Leases(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, len(leases.Leases), 1+int(time.Since(begin)/time.Second), "puts with one TTL share a lease")
	eventually(t, func() bool { return f.len() == 42 })
	require.GreaterOrEqual(t, time.Since(begin), 3*time.Second)
	require.Equal(t, "(absent)", value(t, e, "a", "short0"))
	require.Equal(t, "v", value(t, e, "a", "kept"))
	events, _, _ := f.told()
	require.Equal(t, pluginv1.Event_TYPE_DELETE, events[41].GetType())
	require.Empty(t, events[41].GetEntry().GetValue())
}

func TestALeaseThatSomebodyRevokedIsReplaced(t *testing.T) {
	e, c := fresh(t)
	r := put("a", "k", "v")
	r.TtlMs = 60_000
	mustPut(t, e, r)
	client := raw(t, clientv3.Config{Endpoints: c.Endpoints()})
	leases, err := client.Leases(t.Context())
	require.NoError(t, err)
	require.Len(t, leases.Leases, 1)
	_, err = client.Revoke(t.Context(), leases.Leases[0].ID)
	require.NoError(t, err)
	mustPut(t, e, r)
	require.Equal(t, "v", value(t, e, "a", "k"))
}

func TestKeysThatAreNoTextArePassedOver(t *testing.T) {
	e, c := fresh(t)
	start := mustPut(t, e, put("a", "k1", "v"))
	f := watch(t, e, "a", "", start)
	_, err := raw(t, clientv3.Config{Endpoints: c.Endpoints()}).Put(t.Context(), "/lmqgate/a/k\xff", "v")
	require.NoError(t, err)
	mustPut(t, e, put("a", "k2", "v"))
	eventually(t, func() bool { return f.len() == 1 })
	var keys []string
	require.NoError(t, e.List(t.Context(), &pluginv1.ListRequest{Namespace: "a"}, func(p *pluginv1.ListResponse) error {
		for _, en := range p.GetEntries() {
			keys = append(keys, en.GetKey())
		}
		return nil
	}))
	require.Equal(t, []string{"k1", "k2"}, keys)
}

// benchmark starts one member that writes to the disk.
func benchmark(b *testing.B) *etcd {
	return activate(b, etcdtest.Start(b, etcdtest.Options{Durable: true}).Endpoints(), nil)
}

func BenchmarkPutsOf100Writers(b *testing.B) {
	e := benchmark(b)
	b.SetParallelism(100)
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := e.Put(context.Background(), put("a", fmt.Sprint(i%5000), "0123456789012345678901234567890123456789")); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkBatchesOf100Puts(b *testing.B) {
	e := benchmark(b)
	for n := 0; b.Loop(); n++ {
		r := &pluginv1.BatchRequest{}
		for i := range 100 {
			r.Operations = append(r.Operations, putOp(put("a", fmt.Sprint((n*100+i)%100_000), "0123456789012345678901234567890123456789")))
		}
		if _, err := e.Batch(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListOf100000(b *testing.B) {
	e := benchmark(b)
	for n := range 1000 {
		r := &pluginv1.BatchRequest{}
		for i := range 100 {
			r.Operations = append(r.Operations, putOp(put("a", fmt.Sprint(n*100+i), "0123456789012345678901234567890123456789")))
		}
		_, err := e.Batch(context.Background(), r)
		require.NoError(b, err)
	}
	for b.Loop() {
		n := 0
		require.NoError(b, e.List(context.Background(), &pluginv1.ListRequest{Namespace: "a"}, func(p *pluginv1.ListResponse) error {
			n += len(p.GetEntries())
			return nil
		}))
		require.Equal(b, 100_000, n)
	}
}
