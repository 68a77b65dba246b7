package session

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// Wills of clients that connect to another node, or are refused there.

func TestARefusedClaimLeavesTheDelayedWillDue(t *testing.T) {
	inACluster(t, func(t *testing.T, a, _, c *node) {
		reader := c.connect("reader", durable)
		reader.subscribe(1, "wills/#")
		ids := make([]string, 8) // other nodes look after some of them
		for i := range ids {
			ids[i] = fmt.Sprint("client", i)
			a.connect(ids[i], durable, will(ids[i], 10*time.Second)).drop()
		}
		time.Sleep(100 * time.Millisecond)
		a.store.FailAppends(store.ErrUnavailable) // nobody answers
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		var refused []string
		for _, id := range ids {
			r := Request{ClientID: id, Version: packet.V5, ReceiveMaximum: 16, Expiry: time.Hour, Conn: &client{n: a, id: id}}
			if _, _, err := a.Connect(ctx, r); err != nil {
				refused = append(refused, id)
			}
			if ctx.Err() != nil {
				break
			}
		}
		cancel()
		a.store.FailAppends(nil)
		require.Len(t, refused, 1)
		time.Sleep(15 * time.Second)
		a.eventually("the will is published", func() bool {
			for reader.waiting() > 0 {
				if p := reader.next(); string(p.Payload) == refused[0] {
					return true
				}
			}
			return false
		})
	})
}
