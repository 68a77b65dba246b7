package meta

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func ids(m *Meta) (ids []string) {
	for _, n := range m.Nodes() {
		ids = append(ids, n.ID)
	}
	return ids
}

// lostNodes collects the nodes that OnNodeLost reports.
type lostNodes struct {
	mu  sync.Mutex
	ids []string
}

func watchNodes(m *Meta) *lostNodes {
	l := &lostNodes{}
	m.OnNodeLost(l.add)
	return l
}

func (l *lostNodes) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (l *lostNodes) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = slices.DeleteFunc(l.ids, func(other string) bool { return other == id })
}

func (l *lostNodes) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.ids...)
}

func TestNodesSeeEachOtherAndWhoLeft(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		one := start(t, b, "one", func(o *Options) { o.NodeInfo = map[string]string{"version": "1"} })
		two, three := start(t, b, "two"), start(t, b, "three")
		lost := watchNodes(one)
		for _, m := range []*Meta{one, two, three} {
			eventually(t, func() bool { return len(m.Nodes()) == 3 })
		}
		require.Equal(t, []string{"one", "three", "two"}, ids(two))
		require.Equal(t, "1", two.Nodes()[0].Info["version"])
		require.True(t, two.Nodes()[2].Self)
		require.NoError(t, three.Close())
		eventually(t, func() bool { return len(one.Nodes()) == 2 })
		eventually(t, func() bool { return len(b.Keys(NamespaceNodes)) == 2 })
		require.Empty(t, lost.get(), "a node that leaves in good order is not lost")
	})
}

func TestANodeThatLeavesIsReportedAtEachDeparture(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		one, two := start(t, b, "one"), start(t, b, "two")
		left := &lostNodes{}
		one.OnNodeLeft(left.add)
		for n := range 2 {
			eventually(t, func() bool { return len(one.Nodes()) == 2 })
			require.NoError(t, two.Close())
			eventually(t, func() bool { return len(left.get()) == n+1 })
			late := launch(t, b, "three")
			late.OnNodeLeft(func(id string) { require.NotEqual(t, "two", id, "it had left before") })
			eventually(t, func() bool { return late.Ready() == nil && slices.Contains(ids(one), "three") })
			require.NoError(t, late.Close())
			eventually(t, func() bool { return len(left.get()) == n+2 })
			left.forget("three")
			two = start(t, b, "two")
		}
		require.Equal(t, []string{"two", "two"}, left.get())
	})
}

// vanish ends a node like a crash, without telling the others.
func vanish(m *Meta) {
	m.nodes.mu.Lock()
	m.nodes.leaving, m.nodes.beat = true, time.Time{}
	m.nodes.mu.Unlock()
}

func TestANodeThatFallsSilentIsLostOnce(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		one, two := start(t, b, "one"), start(t, b, "two")
		lost := watchNodes(one)
		eventually(t, func() bool { return len(one.Nodes()) == 2 })
		vanish(two)
		eventually(t, func() bool { return len(lost.get()) == 1 })
		require.Equal(t, []string{"two"}, lost.get())
		require.Equal(t, []string{"one"}, ids(one))
		require.False(t, two.LeaseValid())
		require.Never(t, func() bool { return len(lost.get()) > 1 }, 300*time.Millisecond, 20*time.Millisecond)
		again := start(t, b, "two")
		eventually(t, func() bool { return len(one.Nodes()) == 2 })
		require.True(t, again.LeaseValid())
	})
}

func TestANodeLostWhileNobodyWatchedIsFoundAtStart(t *testing.T) {
	on(t, metatest.Plain(), func(t *testing.T, b *metatest.Backend) {
		b.Edit(NamespaceNodes, "ghost", `{"v":1,"instance":"x","beat_ms":1}`)
		m := launch(t, b, "one")
		lost := watchNodes(m)
		eventually(t, func() bool { return len(lost.get()) == 1 })
	})
}

func TestAnOutageOfTheBackendLosesNoNode(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		patient := func(o *Options) { o.LostAfter = 2 * time.Second } // longer than the pauses between retries
		one, two := start(t, b, "one", patient), start(t, b, "two", patient)
		lost := watchNodes(one)
		eventually(t, func() bool { return len(one.Nodes()) == 2 && len(two.Nodes()) == 2 })
		b.Fail(true)
		eventually(t, func() bool { return !one.LeaseValid() && !two.LeaseValid() && one.Healthy() != nil })
		b.Fail(false)
		eventually(t, func() bool { return one.LeaseValid() && two.LeaseValid() && one.Healthy() == nil })
		require.Never(t, func() bool { return len(lost.get()) > 0 }, 300*time.Millisecond, 10*time.Millisecond)
		require.Len(t, one.Nodes(), 2)
	})
}

func TestInAnOutageTheSnapshotServesWritesFailAndAllResumes(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one", func(o *Options) { o.WriteTimeout = 700 * time.Millisecond })
		require.NoError(t, m.RegisterFilters(ctx, "a/+"))
		require.NoError(t, m.SetRetained(ctx, value("a/b", "v", 1)))
		require.NoError(t, m.AddTopic(ctx, "a"))
		b.Fail(true)
		begin := time.Now()
		require.ErrorIs(t, m.RegisterFilters(ctx, "b/+"), ErrUnavailable)
		require.ErrorIs(t, m.SetRetained(ctx, value("a/c", "v", 1)), ErrUnavailable)
		require.ErrorIs(t, m.SaveSession(ctx, &Session{ClientID: "c"}), ErrUnavailable)
		require.ErrorIs(t, m.AddTopic(ctx, "b"), ErrUnavailable)
		_, err := m.LoadSession(ctx, "c")
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, m.EachSession(ctx, nil), ErrUnavailable)
		require.Less(t, time.Since(begin), 15*time.Second)
		require.NoError(t, m.RegisterFilters(ctx, "a/+"), "what is known needs no write")
		require.Len(t, queues(m, "a/b"), 1)
		require.Equal(t, []string{"a/b=v"}, matched(m, "#"))
		require.NoError(t, m.Ready())
		b.Edit(NamespaceUpstream, keyFirstTopics, "a,during")
		b.Fail(false)
		eventually(t, func() bool { return m.HasTopic("during") && m.Healthy() == nil })
		require.NoError(t, m.RegisterFilters(ctx, "b/+"))
	})
}

func TestANodeStartsWhileTheBackendIsDown(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		b.Fail(true)
		m := launch(t, b, "one")
		require.ErrorIs(t, m.Ready(), ErrUnavailable)
		require.ErrorIs(t, m.RegisterFilters(context.Background(), "a/+"), ErrUnavailable)
		b.Fail(false)
		eventually(t, func() bool { return m.Ready() == nil })
	})
}

func TestAfterCompactionEverythingIsListedAgain(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, m.RegisterFilters(context.Background(), "a/+"))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "a") == "a/+" }) // so that no write is in progress any more
		b.Fail(true)
		b.Edit(NamespaceFilters, "a/+", "")
		b.Edit(NamespaceFilters, "b/+", `{"v":1,"pinned":true}`)
		b.Edit(NamespaceUpstream, "a", "")
		b.Compact()
		b.Fail(false)
		eventually(t, func() bool { return m.HasFilter("b/+") && !m.HasFilter("a/+") })
	})
}

func TestAFullBackendIsALimitAndOthersInTheBatchStillPass(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one")
		require.NoError(t, m.RegisterFilters(ctx, "a/+"))
		require.NoError(t, m.SaveWill(ctx, &Will{ClientID: "there", Message: value("w", "x", 1).Message}))
		eventually(t, func() bool { return b.Value(NamespaceUpstream, "a") != "" })
		b.Delay(20 * time.Millisecond)
		b.Limit(1)
		var wg sync.WaitGroup
		wg.Go(func() {
			require.ErrorIs(t, m.SaveWill(ctx, &Will{ClientID: "new", Message: value("w", "x", 1).Message}), ErrLimit)
		})
		wg.Go(func() {
			require.NoError(t, m.SaveWill(ctx, &Will{ClientID: "there", Epoch: 2, Message: value("w", "x", 1).Message}))
		})
		wg.Wait()
		require.ErrorIs(t, m.RegisterFilters(ctx, "new/+"), ErrLimit)
		b.Limit(0)
	})
}

func TestCallsAfterCloseFail(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
		require.ErrorIs(t, m.RegisterFilters(context.Background(), "x/+"), ErrClosed)
		never, err := New(Options{Client: b.Client(), Traits: b.Traits, NodeID: "never"})
		require.NoError(t, err)
		require.NoError(t, never.Close())
		_, err = New(Options{})
		require.Error(t, err)
	})
}
