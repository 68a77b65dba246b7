package meta

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func TestTopicsAreSharedWithUpstreamsList(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		b.Edit(NamespaceUpstream, keyFirstTopics, " old ,, old,bad/one ,other")
		b.Edit(NamespaceUpstream, keyUpstreamNodes, "10.0.0.1, 10.0.0.2")
		one, two := start(t, b, "one"), start(t, b, "two")
		var told atomic.Int32
		two.OnTopicsChanged(func() { told.Add(1) })
		require.Equal(t, []string{"old", "other"}, one.Topics())
		require.Equal(t, []string{"10.0.0.1", "10.0.0.2"}, one.UpstreamNodes())

		require.NoError(t, one.AddTopic(ctx, "new"))
		require.NoError(t, one.AddTopic(ctx, "new"))
		require.True(t, one.HasTopic("new"))
		require.Equal(t, "old,bad/one,other,new", b.Value(NamespaceUpstream, keyFirstTopics))
		eventually(t, func() bool { return two.HasTopic("new") && told.Load() > 0 })

		require.NoError(t, two.RemoveTopic(ctx, "old"))
		require.False(t, two.HasTopic("old"))
		eventually(t, func() bool { return !one.HasTopic("old") })

		b.Edit(NamespaceUpstream, keyFirstTopics, "by-mqadmin")
		eventually(t, func() bool { return one.HasTopic("by-mqadmin") && len(one.Topics()) == 1 })
		require.ErrorContains(t, one.AddTopic(ctx, "a/b"), "first-level topic")
	})
}

func TestNamesThatACommaListCannotHoldGetAKeyEach(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		for _, name := range []string{"a,b", "ü", "sensor.1", "", keyFirstTopics} {
			require.NoError(t, one.AddTopic(ctx, name))
			require.True(t, one.HasTopic(name))
			eventually(t, func() bool { return two.HasTopic(name) })
		}
		require.Empty(t, b.Value(NamespaceUpstream, keyFirstTopics))
		require.Len(t, two.Topics(), 5)
		require.NoError(t, two.RemoveTopic(ctx, "a,b"))
		eventually(t, func() bool { return !one.HasTopic("a,b") && len(one.Topics()) == 4 })
	})
}

func TestConcurrentAdditionsOfTopicsAllStay(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		nodes := []*Meta{start(t, b, "one"), start(t, b, "two"), start(t, b, "three")}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() { require.NoError(t, nodes[i%3].AddTopic(context.Background(), fmt.Sprintf("t%d", i))) })
		}
		wg.Wait()
		require.Len(t, strings.Split(b.Value(NamespaceUpstream, keyFirstTopics), ","), 30)
	})
}

func FuzzListsOfOperators(f *testing.F) {
	f.Add("a, b,,", "t/+ , t/#/")
	f.Add("\x00,\xff", "/,//,+/+,#/")
	b := metatest.New(metatest.Full())
	f.Cleanup(b.Close)
	f.Fuzz(func(t *testing.T, topics, filters string) {
		m, err := New(Options{Client: b.Client(), Traits: b.Traits, NodeID: "n"})
		require.NoError(t, err)
		m.topics.setListed(splitList(topics))
		m.filters.setListed("t", splitList(filters))
		m.MatchFilters("t/a", func(string) {})
		m.filters.setListed("t", nil)
		require.Zero(t, m.filters.trie.Len())
	})
}
