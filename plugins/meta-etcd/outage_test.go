package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// tryPut puts until it is done, as the gateway does, and returns the revision. What was tried before may have been done, too.
func tryPut(t *testing.T, e *etcd, ns, key string) (revision int64) {
	t.Helper()
	eventually(t, func() bool {
		resp, err := e.Put(t.Context(), put(ns, key, "v"))
		if err != nil {
			require.Equal(t, codes.Unavailable, status.Code(err), err)
		}
		revision = resp.GetRevision()
		return err == nil
	})
	return revision
}

// followed waits until a watch has reported a number of keys. A watch that ended for lack of a leader is resumed from its revision, as the
// gateway does.
func followed(t *testing.T, e *etcd, f *follow, after int64, keys int) {
	t.Helper()
	all := map[string]bool{}
	eventually(t, func() bool {
		events, _, _ := f.told()
		for _, ev := range events {
			all[ev.GetEntry().GetKey()] = true
			after = max(after, ev.GetEntry().GetRevision())
		}
		select {
		case <-f.ended:
			if status.Code(f.err) != codes.Unavailable {
				t.Errorf("the watch ended with %v", f.err)
			}
			f = watch(t, e, "a", "", after)
		default:
		}
		return len(all) == keys
	})
}

func TestAWatchTellsOfEveryLaterChangeInOrder(t *testing.T) {
	e, _ := fresh(t)
	start := mustPut(t, e, put("a", "before", "v"))
	early := watch(t, e, "a", "", start)
	for i := range 50 {
		mustPut(t, e, put("a", fmt.Sprint(i), "v"))
		mustPut(t, e, put("b", fmt.Sprint(i), "v"))
	}
	_, err := e.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "a", Key: "7"})
	require.NoError(t, err)
	late := watch(t, e, "a", "", start)
	some := watch(t, e, "a", "4", start)
	for _, f := range []*follow{early, late} {
		eventually(t, func() bool { return f.len() == 51 })
		events, revision, _ := f.told()
		for i, ev := range events[:50] {
			require.Equal(t, fmt.Sprint(i), ev.GetEntry().GetKey())
			require.Equal(t, "v", string(ev.GetEntry().GetValue()))
		}
		require.Equal(t, pluginv1.Event_TYPE_DELETE, events[50].GetType())
		require.Equal(t, events[50].GetEntry().GetRevision(), revision)
	}
	eventually(t, func() bool { return some.len() == 11 })
}

func TestLargeChangesAreToldInSeveralMessagesOfWholeRevisions(t *testing.T) {
	e, _ := fresh(t)
	start := mustPut(t, e, put("a", "before", "v"))
	half := string(make([]byte, 600<<10))
	for range 5 {
		_, err := e.Batch(
			t.Context(),
			&pluginv1.BatchRequest{Operations: []*pluginv1.Operation{putOp(put("a", "x", half)), putOp(put("a", "y", half))}},
		)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	err := e.Watch(ctx, &pluginv1.WatchRequest{Namespace: "a", AfterRevision: start}, func(r *pluginv1.WatchResponse) error {
		require.Len(t, r.GetEvents(), 2)
		require.Equal(t, r.GetRevision(), r.GetEvents()[0].GetEntry().GetRevision())
		require.Equal(t, r.GetRevision(), r.GetEvents()[1].GetEntry().GetRevision())
		if seen += 2; seen == 10 {
			cancel()
		}
		return nil
	})
	require.Equal(t, codes.Canceled, status.Code(err))
}

func TestAWatchFromBeforeACompactionIsToldToListAgain(t *testing.T) {
	e, c := fresh(t)
	start := mustPut(t, e, put("a", "k", "1"))
	mustPut(t, e, put("a", "k", "2"))
	running := watch(t, e, "a", "", start)
	eventually(t, func() bool { return running.len() == 1 })
	last := mustPut(t, e, put("b", "k", "3"))
	_, err := raw(t, clientv3.Config{Endpoints: c.Endpoints()}).Compact(t.Context(), last)
	require.NoError(t, err)

	late := watch(t, e, "a", "", start)
	<-late.ended
	require.NoError(t, late.err)
	require.True(t, late.compacted)
	resumed := watch(t, e, "a", "", last)
	mustPut(t, e, put("a", "k", "4"))
	for _, f := range []*follow{running, resumed} {
		eventually(t, func() bool {
			events, _, _ := f.told()
			return len(events) > 0 && string(events[len(events)-1].GetEntry().GetValue()) == "4"
		})
		_, _, compacted := f.told()
		require.False(t, compacted)
	}
}

func TestAWatchThatWasCutOffDuringACompactionIsToldToListAgain(t *testing.T) {
	e, c := fresh(t)
	start := mustPut(t, e, put("a", "k", "1"))
	f := watch(t, e, "a", "", start)
	mustPut(t, e, put("a", "k", "2"))
	eventually(t, func() bool { return f.len() == 1 })
	direct := raw(t, clientv3.Config{Endpoints: []string{c.Direct(0)}})
	c.Cut(0)
	var last int64
	for range 3 {
		resp, err := direct.Put(t.Context(), "/lmqgate/a/k", "unseen")
		require.NoError(t, err)
		last = resp.Header.Revision
	}
	_, err := direct.Compact(t.Context(), last)
	require.NoError(t, err)
	c.Join(0)
	<-f.ended
	require.NoError(t, f.err)
	require.True(t, f.compacted)
	require.Len(t, f.events, 1)
}

func TestAWatchThatWasCutOffMissesNothing(t *testing.T) {
	e, c := fresh(t)
	f := watch(t, e, "a", "", mustPut(t, e, put("a", "k", "1")))
	mustPut(t, e, put("a", "k", "2"))
	eventually(t, func() bool { return f.len() == 1 })
	direct := raw(t, clientv3.Config{Endpoints: []string{c.Direct(0)}})
	c.Cut(0)
	for range 3 {
		_, err := direct.Put(t.Context(), "/lmqgate/a/k", "later")
		require.NoError(t, err)
	}
	c.Join(0)
	eventually(t, func() bool { return f.len() == 4 })
}

func TestAnEtcdThatWasReplacedEndsWatches(t *testing.T) {
	e, c := fresh(t)
	for range 10 {
		mustPut(t, e, put("a", "k", "v"))
	}
	start := mustPut(t, e, put("a", "k", "v"))
	running := watch(t, e, "a", "", start)
	mustPut(t, e, put("a", "k", "w"))
	eventually(t, func() bool { return running.len() == 1 })
	c.Stop(0)
	c.Wipe(0)
	c.StartMembers()
	tryPut(t, e, "a", "k")
	<-running.ended
	require.True(t, running.compacted)
	again := watch(t, e, "a", "", start)
	<-again.ended
	require.True(t, again.compacted)
}

func TestANewLeaderCostsNeitherWritesNorEvents(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	e := activate(t, c.Endpoints(), map[string]any{"request_timeout": "3s"})
	start := tryPut(t, e, "a", "before") // on a busy machine there may be a new leader at any time
	f := watch(t, e, "a", "", start)
	for i := range 10 {
		tryPut(t, e, "a", fmt.Sprint(i))
	}
	leader := c.Leader()
	c.Stop(leader)
	for i := 10; i < 20; i++ {
		tryPut(t, e, "a", fmt.Sprint(i))
	}
	eventually(t, func() bool { return e.Health(t.Context()) == nil })
	followed(t, e, f, start, 20)

	c.Stop((leader + 1) % 3) // one of three is no quorum
	eventually(t, func() bool { return e.Health(t.Context()) != nil })
	_, err := e.Put(t.Context(), put("a", "lost", "v"))
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	c.StartMembers()
	tryPut(t, e, "a", "back")
	eventually(t, func() bool { return e.Health(t.Context()) == nil })
}

func TestAllResumesAfterEtcdWasAwayForAWhile(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	e := activate(t, c.Endpoints(), map[string]any{"request_timeout": "3s"})
	start := tryPut(t, e, "a", "before")
	f := watch(t, e, "a", "", start)
	tryPut(t, e, "a", "1")
	followed(t, e, f, start, 1)
	for i := range 3 {
		c.Stop(i)
	}

	begin := time.Now()
	require.ErrorContains(t, e.Health(t.Context()), c.Endpoints()[0])
	_, err := e.Put(t.Context(), put("a", "2", "v"))
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	_, err = e.Get(t.Context(), &pluginv1.GetRequest{Namespace: "a", Key: "1"})
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	err = e.List(t.Context(), &pluginv1.ListRequest{Namespace: "a"}, func(*pluginv1.ListResponse) error { return nil })
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	late := watch(t, e, "a", "", start)
	<-late.ended
	require.Equal(t, codes.Unavailable, status.Code(late.err), late.err)
	require.Less(t, time.Since(begin), 30*time.Second)

	other := activate(t, c.Endpoints(), map[string]any{"request_timeout": "3s"}) // while etcd is away
	require.Error(t, other.Health(t.Context()))
	c.StartMembers()
	tryPut(t, other, "a", "2")
	followed(t, e, f, start, 2)
	eventually(t, func() bool {
		resp, err := e.Get(t.Context(), &pluginv1.GetRequest{Namespace: "a", Key: "1"})
		return err == nil && resp.GetFound()
	})
}

func TestAUsedUpQuotaRefusesWritesAndNothingElse(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{QuotaBytes: 2 << 20})
	e := activate(t, c.Endpoints(), nil)
	mustPut(t, e, put("a", "k", "before"))
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = e.Put(t.Context(), put("fill", fmt.Sprint(i), strings.Repeat("x", 256<<10)))
	}
	require.Equal(t, codes.ResourceExhausted, status.Code(err), err)
	require.ErrorContains(t, err, "NOSPACE")
	// If the refusal came when the entry was applied, etcd raises its alarm a moment later; until then small writes succeed.
	eventually(t, func() bool {
		_, err := e.Put(t.Context(), put("fill", "probe", "v"))
		return status.Code(err) == codes.ResourceExhausted
	})
	_, err = e.Put(t.Context(), put("a", "k", "after"))
	require.Equal(t, codes.ResourceExhausted, status.Code(err), err)
	ttl := put("a", "ttl", "v")
	ttl.TtlMs = 5000
	_, err = e.Put(t.Context(), ttl)
	require.Equal(t, codes.ResourceExhausted, status.Code(err), err)
	require.Equal(t, "before", value(t, e, "a", "k"))
	require.NoError(t, e.Health(t.Context()))

	client := raw(t, clientv3.Config{Endpoints: c.Endpoints()})
	gone, err := client.Delete(t.Context(), "/lmqgate/fill/", clientv3.WithPrefix())
	require.NoError(t, err)
	_, err = client.Compact(t.Context(), gone.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	_, err = client.Defragment(t.Context(), c.Endpoints()[0])
	require.NoError(t, err)
	_, err = client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
	require.NoError(t, err)
	eventually(t, func() bool {
		_, err := e.Put(t.Context(), put("a", "k", "after"))
		return err == nil
	})
}
