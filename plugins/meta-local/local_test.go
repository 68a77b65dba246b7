package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// activate opens a plugin on a file and releases it with the test.
func activate(t *testing.T, path string) *local {
	t.Helper()
	l := newLocal()
	block, err := json.Marshal(map[string]string{"path": path})
	require.NoError(t, err)
	require.Empty(t, l.Configure(t.Context(), sdk.Setup{Config: block}))
	require.NoError(t, l.Activate(t.Context()))
	t.Cleanup(func() { require.NoError(t, l.Deactivate(context.Background())) })
	return l
}

func fresh(t *testing.T) *local { return activate(t, filepath.Join(t.TempDir(), "meta.db")) }

func put(ns, key, value string) *pluginv1.PutRequest {
	return &pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte(value)}
}

func putOp(r *pluginv1.PutRequest) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: r}}
}

func deleteOp(ns, key string) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{Namespace: ns, Key: key}}}
}

func mustPut(t *testing.T, l *local, r *pluginv1.PutRequest) int64 {
	t.Helper()
	resp, err := l.Put(t.Context(), r)
	require.NoError(t, err)
	require.True(t, resp.GetDone())
	return resp.GetRevision()
}

func value(t *testing.T, l *local, ns, key string) string {
	t.Helper()
	resp, err := l.Get(t.Context(), &pluginv1.GetRequest{Namespace: ns, Key: key})
	require.NoError(t, err)
	if !resp.GetFound() {
		return "(absent)"
	}
	return string(resp.GetEntry().GetValue())
}

func TestValuesOutliveTheProcessAndRevisionsGrowOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "meta.db")
	l := activate(t, path)
	first := mustPut(t, l, put("a", "", "empty key"))
	second := mustPut(t, l, put("a", "t/ü,%/#", "v"))
	require.Greater(t, second, first)
	require.NoError(t, l.Deactivate(t.Context()))
	require.Error(t, l.Health(t.Context()))
	require.NoError(t, l.Activate(t.Context()))
	require.NoError(t, l.Health(t.Context()))
	require.Equal(t, "empty key", value(t, l, "a", ""))
	require.Equal(t, "v", value(t, l, "a", "t/ü,%/#"))
	require.Equal(t, "(absent)", value(t, l, "b", "t/ü,%/#"))
	require.Greater(t, mustPut(t, l, put("a", "x", "")), second)
}

func TestASecondProcessIsToldWhoHoldsWhat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	activate(t, path)
	other := newLocal()
	other.path = path
	begin := time.Now()
	err := other.Activate(t.Context())
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "held by another process")
	require.Less(t, time.Since(begin), 20*time.Second)
}

func TestADamagedFileIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	require.NoError(t, os.WriteFile(path, []byte("this is no database, it is a letter to somebody"), 0o600))
	l := newLocal()
	l.path = path
	require.ErrorContains(t, l.Activate(t.Context()), path)
}

func TestExpectationsDecideWhetherAnythingIsWritten(t *testing.T) {
	l, ctx := fresh(t), t.Context()
	absent := &pluginv1.Expect{}
	r := put("a", "k", "1")
	r.Expect = absent
	revision := mustPut(t, l, r)
	resp, err := l.Put(ctx, r)
	require.NoError(t, err)
	require.False(t, resp.GetDone())
	require.Equal(t, revision, resp.GetCurrent().GetRevision())
	require.Equal(t, "1", string(resp.GetCurrent().GetValue()))

	batch, err := l.Batch(ctx, &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{putOp(put("a", "other", "x")), putOp(r)}})
	require.NoError(t, err)
	require.False(t, batch.GetDone())
	require.EqualValues(t, 1, batch.GetFailedIndex())
	require.Equal(t, "(absent)", value(t, l, "a", "other"))

	del, err := l.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k", Expect: &pluginv1.Expect{Revision: revision + 9}})
	require.NoError(t, err)
	require.False(t, del.GetDone())
	del, err = l.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k", Expect: &pluginv1.Expect{Revision: revision}})
	require.NoError(t, err)
	require.True(t, del.GetDone())
	del, err = l.Delete(ctx, &pluginv1.DeleteRequest{Namespace: "a", Key: "k"})
	require.NoError(t, err)
	require.True(t, del.GetDone(), "removing what is absent is no error")
}

func TestOperationsOfABatchShareARevisionAndApplyInOrder(t *testing.T) {
	l := fresh(t)
	resp, err := l.Batch(t.Context(), &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{
		putOp(put("a", "k", "1")), deleteOp("a", "k"), putOp(put("a", "k", "2")), putOp(put("b", "k", "3"))}})
	require.NoError(t, err)
	require.True(t, resp.GetDone())
	require.Equal(t, "2", value(t, l, "a", "k"))
	get, err := l.Get(t.Context(), &pluginv1.GetRequest{Namespace: "b", Key: "k"})
	require.NoError(t, err)
	require.Equal(t, resp.GetRevision(), get.GetEntry().GetRevision())
}

func TestWhatTheFileCannotHoldIsRefused(t *testing.T) {
	l := fresh(t)
	for name, r := range map[string]*pluginv1.PutRequest{
		"long key":   put("a", string(make([]byte, maxKeyBytes+1)), "v"),
		"long value": {Namespace: "a", Key: "k", Value: make([]byte, maxValueBytes+1)},
	} {
		_, err := l.Put(t.Context(), r)
		require.Equal(t, codes.ResourceExhausted, status.Code(err), name)
	}
	_, err := l.Put(t.Context(), put("", "k", "v"))
	require.Equal(t, codes.InvalidArgument, status.Code(err), "no namespace")
	_, err = l.Batch(t.Context(), &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{{}}})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestListingsArePagedInKeyOrder(t *testing.T) {
	l := fresh(t)
	var ops []*pluginv1.Operation
	for i := range 1300 {
		ops = append(ops, putOp(put("a", fmt.Sprintf("p/%04d", i), "v")))
	}
	ops = append(ops, putOp(put("a", "q", "v")))
	resp, err := l.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops})
	require.NoError(t, err)
	var keys []string
	pages := 0
	require.NoError(t, l.List(t.Context(), &pluginv1.ListRequest{Namespace: "a", Prefix: "p/"}, func(p *pluginv1.ListResponse) error {
		pages++
		require.Equal(t, resp.GetRevision(), p.GetRevision())
		for _, e := range p.GetEntries() {
			keys = append(keys, e.GetKey())
		}
		return nil
	}))
	require.Len(t, keys, 1300)
	require.IsIncreasing(t, keys)
	require.Equal(t, 3, pages)
	pages = 0
	require.NoError(t, l.List(t.Context(), &pluginv1.ListRequest{Namespace: "none"}, func(p *pluginv1.ListResponse) error {
		pages++
		require.Empty(t, p.GetEntries())
		return nil
	}))
	require.Equal(t, 1, pages, "an empty listing still tells its revision")
}

// follow collects the events of a watch.
type follow struct {
	mu        sync.Mutex
	events    []*pluginv1.Event
	compacted bool
	ended     chan struct{}
}

func watch(t *testing.T, l *local, ns string, after int64) *follow {
	f := &follow{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(f.ended)
		_ = l.Watch(ctx, &pluginv1.WatchRequest{Namespace: ns, AfterRevision: after}, func(r *pluginv1.WatchResponse) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, r.GetEvents()...)
			f.compacted = f.compacted || r.GetCompacted()
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-f.ended })
	return f
}

func (f *follow) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.events)
}

func TestAWatchTellsOfEveryLaterChangeInOrder(t *testing.T) {
	l := fresh(t)
	start := mustPut(t, l, put("a", "before", "v"))
	early := watch(t, l, "a", start)
	for i := range 50 {
		mustPut(t, l, put("a", fmt.Sprint(i), "v"))
		mustPut(t, l, put("b", fmt.Sprint(i), "v"))
	}
	_, err := l.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "a", Key: "7"})
	require.NoError(t, err)
	late := watch(t, l, "a", start)
	for _, f := range []*follow{early, late} {
		require.Eventually(t, func() bool { return f.len() == 51 }, time.Minute, time.Millisecond)
		for i, ev := range f.events[:50] {
			require.Equal(t, fmt.Sprint(i), ev.GetEntry().GetKey())
		}
		require.Equal(t, pluginv1.Event_TYPE_DELETE, f.events[50].GetType())
	}
}

func TestAWatchFromTooLongAgoIsToldToListAgain(t *testing.T) {
	l := fresh(t)
	start := mustPut(t, l, put("a", "k", "v"))
	require.NoError(t, l.Deactivate(t.Context()))
	require.NoError(t, l.Activate(t.Context()))
	current := watch(t, l, "a", start)
	mustPut(t, l, put("a", "k", "w"))
	require.Eventually(t, func() bool { return current.len() == 1 }, time.Minute, time.Millisecond)
	for _, after := range []int64{start - 1, start + 1000} { // before the process started; from another file
		f := watch(t, l, "a", after)
		<-f.ended
		require.True(t, f.compacted)
	}
}

func TestOldChangesAreForgottenByWholeRevisions(t *testing.T) {
	c := newChanges(0)
	for r := int64(1); r <= maxChanges; r++ {
		c.add(r, []*pluginv1.Event{
			{
				Entry: &pluginv1.Entry{Namespace: "a", Key: "x", Revision: r},
			},
			{Entry: &pluginv1.Entry{Namespace: "a", Key: "y", Revision: r}},
		})
	}
	require.LessOrEqual(t, len(c.log), maxChanges)
	_, _, compacted, _ := c.since("a", "", c.floor-1)
	require.True(t, compacted)
	events, upTo, compacted, _ := c.since("a", "", c.floor)
	require.False(t, compacted)
	require.Equal(t, c.floor+1, events[0].GetEntry().GetRevision())
	seen := len(events)
	for upTo < maxChanges { // one page at a time, whole revisions only
		require.Zero(t, len(events)%2)
		events, upTo, _, _ = c.since("a", "", upTo)
		seen += len(events)
	}
	require.Equal(t, len(c.log), seen)
}

func TestAnEntryWithATTLDisappearsUnlessItIsPutAgain(t *testing.T) {
	l := fresh(t)
	f := watch(t, l, "a", 0)
	short := put("a", "short", "v")
	short.TtlMs = 4000
	kept := put("a", "kept", "v")
	kept.TtlMs = 4000 // longer than a slow disk takes for the next write
	mustPut(t, l, short)
	mustPut(t, l, kept)
	mustPut(t, l, put("a", "kept", "v"))
	require.Eventually(t, func() bool { return value(t, l, "a", "short") == "(absent)" }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return f.len() == 4 }, time.Minute, 5*time.Millisecond)
	f.mu.Lock()
	require.Equal(t, pluginv1.Event_TYPE_DELETE, f.events[3].GetType())
	require.Equal(t, "short", f.events[3].GetEntry().GetKey())
	f.mu.Unlock()
	require.Equal(t, "v", value(t, l, "a", "kept"))
	again := put("a", "short", "new")
	again.Expect = &pluginv1.Expect{}
	mustPut(t, l, again)
}

func TestWritersShareCommits(t *testing.T) {
	l := fresh(t)
	o, err := l.opened()
	require.NoError(t, err)
	const writers = 200
	before := o.file.db.Stats()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { _, _ = l.Put(context.Background(), put("a", fmt.Sprint(i), "v")) })
	}
	wg.Wait()
	after := o.file.db.Stats()
	writes := after.TxStats.GetWrite() - before.TxStats.GetWrite()
	require.Less(t, writes, int64(writers*4), "each commit of its own would write about six pages")
	require.EqualValues(t, writers, o.file.changes.revision())
}

func TestAWriteAfterCloseFails(t *testing.T) {
	l := fresh(t)
	o, err := l.opened()
	require.NoError(t, err)
	require.NoError(t, l.Deactivate(t.Context()))
	_, err = o.commits.do(t.Context(), []*pluginv1.Operation{putOp(put("a", "k", "v"))})
	require.ErrorIs(t, err, errStopped)
	_, err = l.Put(t.Context(), put("a", "k", "v"))
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestUnknownKeysOfTheConfigurationAreNamed(t *testing.T) {
	problems := newLocal().Configure(t.Context(), sdk.Setup{Config: []byte(`{"paht": "x"}`)})
	require.Len(t, problems, 1)
	require.Equal(t, "paht", problems[0].Key)
	l := newLocal()
	require.Empty(t, l.Configure(t.Context(), sdk.Setup{DataDir: "/data", ConfigDir: "/etc/lmqgate"}))
	require.Equal(t, "/data/meta.db", l.path)
	require.Empty(t, l.Configure(t.Context(), sdk.Setup{Config: []byte(`{"path": "m.db"}`), DataDir: "/data", ConfigDir: "/etc/lmqgate"}))
	require.Equal(t, "/etc/lmqgate/m.db", l.path)
}

func BenchmarkPutsOf100Writers(b *testing.B) {
	l := newLocal()
	l.path = filepath.Join(b.TempDir(), "meta.db")
	require.NoError(b, l.Activate(b.Context()))
	defer func() { require.NoError(b, l.Deactivate(context.Background())) }()
	b.SetParallelism(100)
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := l.Put(context.Background(), put("a", fmt.Sprint(i%5000), "0123456789012345678901234567890123456789")); err != nil {
				b.Error(err)
			}
		}
	})
}
