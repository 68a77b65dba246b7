package meta

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/internal/leftover"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

var flavours = map[string]func() *pluginv1.MetaTraits{"full": metatest.Full, "plain": metatest.Plain}

// on runs a test against a backend with the given traits, in virtual time: the intervals are so short that a node on a busy machine would
// lose its lease, and its calls would be given up.
func on(t *testing.T, traits *pluginv1.MetaTraits, f func(t *testing.T, b *metatest.Backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := metatest.New(traits)
		t.Cleanup(b.Close)
		f(t, b)
	})
}

// each runs a test against both kinds of backend, in virtual time.
func each(t *testing.T, f func(t *testing.T, b *metatest.Backend)) {
	for name, traits := range flavours {
		t.Run(name, func(t *testing.T) { on(t, traits(), f) })
	}
}

// start runs a node on a backend, with intervals that suit tests, and waits until the node is ready.
func start(t *testing.T, b *metatest.Backend, node string, change ...func(*Options)) *Meta {
	t.Helper()
	m := launch(t, b, node, change...)
	eventually(t, func() bool { return m.Ready() == nil && m.LeaseValid() })
	return m
}

func launch(t *testing.T, b *metatest.Backend, node string, change ...func(*Options)) *Meta {
	t.Helper()
	o := Options{Client: b.Client(), Traits: b.Traits, NodeID: node,
		CallTimeout: time.Second, WriteTimeout: 2 * time.Second, PollInterval: 10 * time.Millisecond, UpstreamPollInterval: 20 * time.Millisecond,
		HeartbeatInterval: 50 * time.Millisecond, LostAfter: 500 * time.Millisecond}
	if os.Getenv("META_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, c := range change {
		c(&o)
	}
	m, err := New(o)
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func eventually(t *testing.T, cond func() bool, about ...any) {
	t.Helper()
	require.Eventually(t, cond, time.Minute, 2*time.Millisecond, about...)
}

func queues(m *Meta, name string) []string {
	var qs []string
	m.MatchFilters(name, func(q string) { qs = append(qs, q) })
	return qs
}

func TestAFilterRegisteredOnOneNodeMatchesOnAll(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		require.NoError(t, one.RegisterFilters(ctx, "a/+/c", "a/#", "#"))
		require.Len(t, queues(one, "a/b/c"), 3)
		require.Len(t, queues(one, "a/b"), 2)
		require.NoError(t, two.LearnFilters(ctx, "a/#"))
		require.True(t, two.HasFilter("a/#"))
		eventually(t, func() bool { return len(queues(two, "a/b/c")) == 3 })
		require.Equal(t, 2, two.FilterCount("a"))
	})
}

func TestManySubscribersShareWrites(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Delay(20 * time.Millisecond)
		before := b.Calls("Batch")
		errs := make(chan error)
		for i := range 200 {
			go func() { errs <- m.RegisterFilters(context.Background(), fmt.Sprintf("cmd/%d/#", i)) }()
		}
		for range 200 {
			require.NoError(t, <-errs)
		}
		require.Less(t, b.Calls("Batch")-before, 60)
		require.Equal(t, 200, m.FilterCount("cmd"))
	})
}

func TestOneCallRegistersThousandsOfFilters(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		var names []string
		for i := range 2000 {
			names = append(names, fmt.Sprintf("t/%d/#", i))
		}
		require.NoError(t, m.RegisterFilters(context.Background(), names...))
		require.Equal(t, 2000, m.FilterCount("t"))
		require.Equal(t, 2000, len(b.Keys(NamespaceFilters)))
	})
}

func TestWritesWaitLongerThanTheTimeoutWhileOthersGetThrough(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one", func(o *Options) { o.WriteTimeout = time.Second })
		b.Delay(300 * time.Millisecond)
		errs := make(chan error)
		for i := range 500 {
			go func() { errs <- m.RegisterFilters(context.Background(), fmt.Sprintf("t/%d/#", i)) }()
		}
		for range 500 {
			require.NoError(t, <-errs)
		}
		b.Delay(0)
		time.Sleep(time.Second) // let pending calls of the backend end before the bubble does
	})
}

func TestBatchesShrinkWhereEachOperationIsSlowAndGrowAgain(t *testing.T) {
	w := newWriter(nil)
	w.adapt(100, 10*time.Second)
	require.EqualValues(t, 50, w.limit.Load())
	w.adapt(1, 10*time.Second) // the call itself is slow, not each operation
	require.EqualValues(t, 50, w.limit.Load())
	for range 10 {
		w.adapt(int(w.limit.Load()), time.Second)
	}
	require.EqualValues(t, minBatchOperations, w.limit.Load())
	w.adapt(1, time.Millisecond) // not a full batch, so it says nothing
	require.EqualValues(t, minBatchOperations, w.limit.Load())
	for range 10 {
		w.adapt(int(w.limit.Load()), time.Millisecond)
	}
	require.EqualValues(t, maxBatchOperations, w.limit.Load())
}
