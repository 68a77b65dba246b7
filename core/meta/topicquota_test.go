package meta

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/topic"
)

// makeTopic makes a first-level topic as package catalog does.
func makeTopic(m *Meta, name string, by topic.Maker) error {
	release, err := m.ClaimTopic(name, by)
	if err != nil {
		return err
	}
	defer release()
	return m.MakeTopic(context.Background(), name, by)
}

// maker is a client of an identity as a maker of topics.
func maker(owner Owner, client string) topic.Maker {
	return topic.Maker{Client: client, Identity: owner.Mark()}
}

var operator = topic.Maker{Operator: true}

func TestTopicsThatClientsMakeAreBoundedForThemTheirIdentityAndTheCluster(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		b.Edit(NamespaceUpstream, keyFirstTopics, "old1,old2")
		bounds := func(o *Options) { o.Quotas = Quotas{Topics: 20} }
		m := start(t, b, "one", bounds)
		n := 0
		fresh := func() string { n++; return fmt.Sprintf("t%d", n) }
		for i := range 5 {
			for range 2 {
				require.NoError(t, makeTopic(m, fresh(), maker(user("greedy"), fmt.Sprint("c", i))))
			}
			require.ErrorContains(t, makeTopic(m, "more", maker(Owner{}, fmt.Sprint("c", i))), "limits.client.share")
		}
		require.ErrorContains(t, makeTopic(m, "more", maker(user("greedy"), "c5")), "limits.identity.share")
		two := start(t, b, "two", bounds)
		for _, m := range []*Meta{m, two} {
			require.ErrorIs(t, makeTopic(m, "more", maker(user("greedy"), "c6")), ErrLimit, "other nodes know it from the records")
			require.False(t, m.HasTopic("more"), "what is refused leaves nothing behind")
			require.NoError(t, makeTopic(m, "t1", maker(user("greedy"), "c0")), "what is there needs no room")
		}
		for i := range 4 {
			require.NoError(t, makeTopic(two, fresh(), maker(user("other"), fmt.Sprint("o", i))))
			require.NoError(t, makeTopic(two, fresh(), maker(Owner{}, fmt.Sprint("anonymous", i))))
		}
		require.ErrorContains(t, makeTopic(two, "more", maker(user("third"), "x")), "limits.cluster.topics")
		require.NoError(t, makeTopic(two, "by-an-operator", operator))
		fills := two.Fills()
		require.Contains(t, fills, Fill{"topics", 21, 20}, "those that an operator made count")
		eventually(t, func() bool { return len(m.Topics()) == 21 })
		require.Len(t, strings.Split(b.Value(NamespaceUpstream, keyFirstTopics), ","), 21, "Apache RocketMQ MQTT sees them all")
		require.Len(t, b.Keys(NamespaceTopics), 18)

		require.NoError(t, m.RemoveTopic(t.Context(), "t1"))
		require.NoError(t, m.RemoveTopic(t.Context(), "t2"))
		require.Len(t, b.Keys(NamespaceTopics), 16)
		require.NoError(t, makeTopic(m, "again", maker(user("greedy"), "c0")))
		require.False(t, m.HasTopic("t1"))
	})
}

func TestATopicThatIsTakenOffTheListIsGoneWhoeverMadeIt(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, makeTopic(m, "a", maker(user("u"), "c")))
		require.NoError(t, makeTopic(m, "b", maker(user("u"), "c")))
		b.Edit(NamespaceUpstream, keyFirstTopics, "b")
		eventually(t, func() bool { return !m.HasTopic("a") })
		require.NoError(t, makeTopic(m, "a", maker(user("v"), "d")))
		require.True(t, m.HasTopic("a"))
		require.Equal(t, []string{"a", "b"}, m.Topics())
		m.ledger.mu.Lock()
		defer m.ledger.mu.Unlock()
		require.Equal(t, 2, m.ledger.topics())
		require.Equal(t, 1, m.ledger.clients[countTopics].of[clientKey("d")].keys)
	})
}

func TestTopicsLeaveTheReserveOfTheBackendAlone(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		m := counted(t, b, "one")
		for i := range 10 {
			require.NoError(t, makeTopic(m, fmt.Sprint("c", i), maker(user("u"), "c")))
		}
		require.ErrorContains(t, makeTopic(m, "more", maker(user("u"), "c")), "limits.client.share")
		for i := range 80 {
			require.NoError(t, makeTopic(m, fmt.Sprint("t", i), maker(Owner{}, fmt.Sprint("d", i))))
		}
		require.ErrorContains(t, makeTopic(m, "more", maker(user("v"), "e")), "the metadata backend")
		require.ErrorIs(t, makeTopic(m, "an.operators", operator), ErrLimit, "it takes a key")
		require.NoError(t, makeTopic(m, "listed", operator), "it takes none")
		require.ErrorIs(t, begin(t, m, user("v"), 0, 1), ErrLimit)
		require.Len(t, b.Keys(NamespaceTopics), 90)
		fills := m.Fills()
		require.Equal(t, []Fill{{"keys", 90, 90}}, fills)
	})
}

func TestATopicOfAnEarlierReleaseCountsForTheClusterOnly(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		b.Edit(NamespaceTopics, "odd.name", `{"v":1,"node":"n"}`)
		b.Edit(NamespaceTopics, "by hand", "what an operator wrote")
		b.Edit(NamespaceUpstream, keyFirstTopics, "listed")
		m := start(t, b, "one", func(o *Options) { o.Quotas = Quotas{Topics: 4, ClientShare: 100, IdentityShare: 100} })
		require.Equal(t, []string{"by hand", "listed", "odd.name"}, m.Topics())
		require.NoError(t, makeTopic(m, "one", maker(user("u"), "c")))
		require.ErrorContains(t, makeTopic(m, "two", maker(user("u"), "c")), "limits.cluster.topics")
	})
}
