package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

func TestRebalancingClosesTheSurplusAtItsRateAndKeepsSessions(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		var clients []*client
		for i := range 10 {
			clients = append(clients, n.connect(fmt.Sprint("c", i), durable))
		}
		n.connect("asleep", durable).drop()
		begun := time.Now()
		require.Equal(t, 6, n.Rebalance(context.Background(), 4, 2))
		require.Equal(t, 2500*time.Millisecond, time.Since(begun).Round(100*time.Millisecond))
		require.Equal(t, 4, n.Online())
		for _, c := range clients {
			if !c.isClosed() {
				continue
			}
			require.Equal(t, packet.UseAnotherServer, c.code)
			require.False(t, n.record(c.id).Disconnected.IsZero())
			require.True(t, n.connect(c.id, durable).present, "wherever it comes back")
		}
		require.Zero(t, n.Rebalance(context.Background(), 10, 1000), "there are not too many")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.Equal(t, 1, n.Rebalance(ctx, 0, 0.1), "it ends with its context")
	})
}

func TestAWillOfAClientThatWasSentElsewhereIsPublishedOnlyWhereItGetsNowhere(t *testing.T) {
	inACluster(t, func(t *testing.T, a, b, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		a.connect("durable", durable, will("durable", 0))
		a.connect("clean", clean, will("clean", 0))
		a.connect("stays", clean, will("stays", 0))
		a.connect("lost", clean, will("lost", 0))
		require.Equal(t, 4, a.Rebalance(context.Background(), 0, 100))
		require.True(t, b.connect("durable", durable).present)
		b.connect("clean", clean)
		a.connect("stays", clean)
		reader.gets("lost")
		pass(40 * time.Second)
		require.Zero(t, reader.waiting())
	})
}
