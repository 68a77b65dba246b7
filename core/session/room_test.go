package session

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestSubscriptionsTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	t.Parallel()
	r := &subscriptionRoom{max: 100, share: 50}
	require.NoError(t, r.take("greedy", 40, false))
	require.ErrorContains(t, r.take("greedy", 20, false), "limits.identity.share")
	require.NoError(t, r.take("other", 50, false))
	require.ErrorContains(t, r.take("third", 20, false), "limits.node.subscription_memory")
	require.NoError(t, r.take("greedy", 40, true), "what a session has already")
	r.give("greedy", 80)
	r.give("other", 50)
	require.Zero(t, r.all)
	require.Empty(t, r.of)
	require.NoError(t, r.take("", 90, false), "clients that are nobody in particular share what there is")
}

func TestTheMemoryOfSubscriptionsIsGivenBackWhateverEndsThem(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		used := func() int64 { used, _ := n.SubscriptionMemory(); return used }
		c := n.connect("c", durable)
		c.subscribe(1, "T/a")
		one := used()
		require.Positive(t, one)
		c.subscribe(2, "T/a")
		require.Equal(t, one, used(), "the same filter again")
		require.Equal(t, []packet.Code{1, packet.QuotaExceeded, 1}, c.trySubscribe(1, "T/b", "T/"+strings.Repeat("x", 20<<10), "T/c"))
		require.Equal(t, 3*one, used())
		c.leave()
		require.Zero(t, used(), "its session is in the metadata alone")
		c = n.connect("c", durable)
		require.Equal(t, 3*one, used())
		c.s.Unsubscribe(t.Context(), []string{"T/a", "T/b"})
		require.Equal(t, one, used())
		var refused int
		for i := range 30 {
			if c.trySubscribe(0, fmt.Sprintf("T/%d", i))[0].Failed() {
				refused++
			}
		}
		require.Positive(t, refused)
		require.LessOrEqual(t, used(), int64(20<<10))
		c.leave()
		clean := n.connect("d")
		clean.subscribe(0, "T/a")
		clean.leave()
		require.Zero(t, used())
	}, func(n *node) { n.options.SubscriptionMemory = 20 << 10 })
}

func TestNoNewSubscriptionIsTakenWhileTheProcessIsShortOfMemory(t *testing.T) {
	var short atomic.Bool
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/a")
		short.Store(true)
		require.Equal(t, []packet.Code{packet.QuotaExceeded, 2}, c.trySubscribe(2, "T/b", "T/a"))
		c.leave()
		c = n.connect("c", durable)
		n.publish(1, "T/a", "1")
		c.gets("1")
		short.Store(false)
		c.subscribe(1, "T/b")
	}, func(n *node) { n.options.Short = short.Load })
}

func TestARefusedSharedGroupLeavesNothingBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		const filter = "$share/g/T/new/+"
		c := n.connect("c")
		c.subscribe(1, "$share/g/T/known/+")
		n.meta.SetQuotas(meta.Quotas{Filters: 3})
		require.Equal(t, []packet.Code{packet.QuotaExceeded}, c.trySubscribe(1, filter))
		require.False(t, n.meta.HasFilter(filter))
		require.False(t, n.meta.HasFilter("T/new/+"))
		c.subscribe(1, "$share/g/T/known/+")
		n.connect("d").subscribe(1, "$share/g/T/known/+")

		n.meta.SetQuotas(meta.Quotas{})
		gone := n.connect("gone")
		gone.Close(packet.Success, "")
		gone.s.Detach(gone, Ending{})
		require.ErrorIs(t, gone.s.joinGroup(t.Context(), newSubscription(filter)), errDetached)
		n.eventually("nothing is left of a group that nobody got into", func() bool {
			return !n.meta.HasFilter(filter) && !n.meta.HasFilter("T/new/+") && len(n.backend.Keys(meta.NamespaceFilters)) == 2
		})
	})
}

func TestACleanClientsSharedGroupsCountAsKeys(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c")
		for i := range 10 {
			c.subscribe(0, fmt.Sprintf("$share/g/T/%d", i), fmt.Sprintf("T/clean/%d", i))
		}
		require.Equal(t, []packet.Code{packet.QuotaExceeded, 0}, c.trySubscribe(0, "$share/g/T/10", "T/clean/10"))
	}, func(n *node) {
		traits := metatest.Full()
		traits.MaxKeys = 100
		n.backend = metatest.New(traits)
	})
}
