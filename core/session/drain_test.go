package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

func TestADrainClosesConnectionsEvenlyAndKeepsSessionsAndWills(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		var clients []*client
		for i := range 10 {
			clients = append(clients, n.connect(fmt.Sprint("c", i), durable, will("w", 0)))
		}
		open := func() (count int) {
			for _, c := range clients {
				if !c.isClosed() {
					count++
				}
			}
			return count
		}
		done := make(chan struct{})
		go func() {
			n.Drain(context.Background(), 10*time.Second)
			close(done)
		}()
		pass(4500 * time.Millisecond)
		require.Equal(t, 5, open())
		pass(10 * time.Second)
		<-done
		require.Zero(t, open())
		for _, c := range clients {
			require.Equal(t, packet.ServerShuttingDown, c.code)
			rec, err := n.meta.LoadSession(context.Background(), c.id)
			require.NoError(t, err)
			require.NotNil(t, rec)
			require.False(t, rec.Disconnected.IsZero())
			w, err := n.meta.LoadWill(context.Background(), c.id)
			require.NoError(t, err)
			require.NotNil(t, w, "it is kept, and published by whoever finds the client away")
		}
	})
}

func TestADrainEndsWithItsContext(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for i := range 3 {
			n.connect(fmt.Sprint("c", i), clean)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		n.Drain(ctx, time.Hour)
		require.LessOrEqual(t, time.Since(begun), 2*time.Second)
		require.Len(t, n.Clients(), 2)
	})
}
