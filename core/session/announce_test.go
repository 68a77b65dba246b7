package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// onPolledMetadata gives a node metadata that sends no change notifications, as name servers do not.
func onPolledMetadata(n *node) { n.backend = metatest.New(metatest.Plain()) }

func TestANewFilterIsInForceOnEveryNodeBeforeSuback(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		nodes := []*node{a, b, c}
		for i := range 9 {
			on, from := nodes[i%3], nodes[(i+1+i/3%2)%3]
			sub := on.connect(fmt.Sprint("sub", i), durable)
			filter := fmt.Sprintf("T/%d/+", i)
			sub.subscribe(1, filter)
			for _, n := range nodes {
				require.True(t, n.meta.HasFilter(filter))
			}
			sub.drop() // at once, so that the message must come from the session's queue
			from.publish(1, fmt.Sprintf("T/%d/a", i), "1")
			nodes[(i+1)%3].connect(sub.id, durable).gets("1")
		}
		one := a.connect("one", durable)
		one.subscribe(1, "T/same/+")
		began := time.Now()
		b.connect("two", durable).subscribe(1, "T/same/+", "T/other/+")
		require.Less(t, time.Since(began), time.Second)
		require.True(t, c.meta.HasFilter("T/other/+"))
	}, onPolledMetadata)
}

func TestANewSharedGroupIsKnownOnEveryNodeBeforeSuback(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		a.connect("member", durable).subscribe(1, "$share/g/T/shared/#")
		for _, n := range []*node{b, c} {
			require.True(t, n.meta.HasFilter("T/shared/#"))
			require.True(t, n.meta.HasFilter("$share/g/T/shared/#"))
		}
	}, onPolledMetadata)
}

func TestANodeSaysWhichFiltersItsMetadataDoesNotShow(t *testing.T) {
	inACluster(t, func(t *testing.T, a, _, c *node) {
		a.connect("sub", durable).subscribe(1, "T/known/+")
		missing, err := c.LearnFilters(context.Background(), []byte(`["T/known/+", "T/none/+"]`))
		require.NoError(t, err)
		require.JSONEq(t, `["T/none/+"]`, string(missing))
		_, err = c.LearnFilters(context.Background(), []byte("{"))
		require.Error(t, err)
	}, onPolledMetadata)
}

func TestAFilterThatANodeDoesNotConfirmIsRefused(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		sub := a.connect("sub", durable)
		sub.subscribe(1, "T/known/+")
		pass(time.Minute) // so that the filter is no longer new
		c.meta.failFilters(errUnconfirmed)
		require.Equal(t, []packet.Code{packet.UnspecifiedError, 1}, sub.trySubscribe(1, "T/new/+", "T/known/+"))
		require.Equal(t, []packet.Code{packet.UnspecifiedError}, sub.trySubscribe(1, "$share/g/T/new/+"))
		a.eventually("nothing is left of it", func() bool { return !a.meta.HasFilter("T/new/+") || len(a.record("sub").Subscriptions) == 1 })
		c.meta.failFilters(nil)
		sub.subscribe(1, "T/new/+")
		sub.subscribe(1, "$share/g/T/new/+")
	}, onPolledMetadata)
}
