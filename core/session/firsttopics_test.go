package session

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
)

// firsts returns the first-level topics of the node's store.
func (n *node) firsts() []string {
	n.t.Helper()
	all, err := n.store.Topics(context.Background())
	require.NoError(n.t, err)
	names := make([]string, 0, len(all))
	for _, info := range all {
		names = append(names, info.Name)
	}
	return names
}

func TestARefusedSubscriptionLeavesNoFirstLevelTopicBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c, brief := n.connect("c", durable), n.connect("brief")
		c.subscribe(1, "T/known/+")
		n.meta.SetQuotas(meta.Quotas{Filters: 1})
		full := []packet.Code{packet.QuotaExceeded}
		require.Equal(t, full, c.trySubscribe(1, "new1/a/#"))
		require.Equal(t, full, c.trySubscribe(1, "$share/g/new2/a/#"))
		require.Equal(t, full, brief.trySubscribe(1, "$share/g/new3/#"))
		require.Equal(t, []string{"T"}, n.meta.Topics())
		require.Equal(t, []string{"T"}, n.firsts())
		require.Equal(t, []packet.Code{1}, brief.trySubscribe(1, "new4/#"), "it needs no room")

		n.meta.SetQuotas(meta.Quotas{})
		c.subscribe(1, "new1/a/#", "$share/g/new2/a/#")
		brief.subscribe(1, "$share/g/new3/#")
		n.publish(1, "new1/a/b", "one")
		c.gets("one")
		n.publish(1, "new2/a/b", "two")
		c.gets("two")
		n.publish(1, "new3/a", "three")
		brief.gets("three")
	})
}

func TestASubscriptionForWhoseFirstLevelTopicThereIsNoRoomLeavesNothingBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c, brief := n.connect("c", durable), n.connect("brief")
		c.subscribe(1, "T/known/+")
		n.meta.SetQuotas(meta.Quotas{Topics: 3, ClientShare: 100})
		full := packet.QuotaExceeded
		require.Equal(t, []packet.Code{1, 1, full, full, 1}, c.trySubscribe(1, "a/1", "b/1", "c/1", "d/1", "a/2"))
		require.Equal(t, []packet.Code{full, 1}, c.trySubscribe(1, "$share/g/e/#", "$share/g/a/#"))
		require.Equal(t, []packet.Code{full, full, 1}, brief.trySubscribe(1, "f/#", "$share/g/f/#", "b/#"))
		require.Equal(t, []string{"T", "a", "b"}, n.meta.Topics())
		require.Equal(t, []string{"T", "a", "b"}, n.firsts())
		n.eventually("no filter is left of them", func() bool {
			return !n.meta.HasFilter("c/1") && !n.meta.HasFilter("d/1") && !n.meta.HasFilter("$share/g/e/#") && !n.meta.HasFilter("e/#")
		})
		require.Len(t, n.record("c").Subscriptions, 5)
	})
}

func TestASessionIsResumedThoughThereIsNoRoomForATopicThatWasDeleted(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+", "gone/+", "$share/g/gone/+")
		c.Close(packet.Success, "")
		c.s.Detach(c, Ending{})
		n.stop()
		n.start()
		require.NoError(t, n.meta.RemoveTopic(context.Background(), "gone"))
		require.NoError(t, n.store.DeleteTopic(context.Background(), "gone"))
		n.meta.SetQuotas(meta.Quotas{Topics: 1})
		c = n.connect("c", durable)
		require.Equal(t, []string{"T"}, n.firsts())
		n.publish(1, "T/a", "m")
		c.gets("m")
	})
}
