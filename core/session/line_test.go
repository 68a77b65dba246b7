package session

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
)

func TestAClientThatDoesNotReadKeepsNoRetainedMessagesOfThePast(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for i := range 40 {
			n.retain(fmt.Sprintf("T/%d", i), "old")
		}
		found, _ := n.meta.Retained("T/#")
		require.Len(t, found, 40)
		old := make([]weak.Pointer[meta.Retained], len(found))
		for i, v := range found {
			old[i] = weak.Make(v)
		}
		clear(found)
		c := n.connect("c", func(r *Request) { r.ReceiveMaximum = 1 })
		c.subscribe(1, "T/#")
		n.eventually("the first one is sent", func() bool { return c.waiting() == 1 })
		for i := range 40 {
			n.retain(fmt.Sprintf("T/%d", i), "new")
		}
		n.eventually("the old messages are not in memory", func() bool {
			runtime.GC()
			alive := 0
			for _, v := range old {
				if v.Value() != nil {
					alive++
				}
			}
			return alive <= 1 // the one that was sent
		})
		got := map[string]int{}
		for got["new"] < 40 {
			p := c.next()
			got[string(p.Payload)]++
			c.ack(p)
		}
		require.Equal(t, 1, got["old"])
		pass(time.Second)
		require.Zero(t, c.waiting())
	})
}

func TestAClientThatSubscribesAgainAndAgainAndDoesNotReadIsClosed(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for i := range 100 {
			n.retain(fmt.Sprintf("T/%d", i), "kept")
		}
		n.SetSubscriptions(1000, 32<<10, 50)
		c := n.connect("c", func(r *Request) { r.ReceiveMaximum = 1 })
		for range 12 {
			c.subscribe(1, "T/#")
		}
		require.False(t, c.isClosed())
		for range 10 {
			_ = c.trySubscribe(1, "T/#")
		}
		require.True(t, c.isClosed())
		require.Equal(t, packet.QuotaExceeded, c.code)
		c.leave()
		other := n.connect("other")
		n.eventually("the memory is given back", func() bool {
			runtime.GC()
			used, _ := n.SubscriptionMemory()
			return used == 0
		})
		other.subscribe(1, "T/#")
		for range 16 {
			other.ack(other.next())
		}
	})
}
