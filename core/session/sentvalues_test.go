package session

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

func TestAValueFollowsTheLastOneThatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(n int64) store.Position { return store.Position{Broker: "b", Offset: n, Log: n} }
		var v sentValues
		v.sent("a", at(1))
		require.False(t, v.follows("a", at(2)), "no SUBSCRIBE has asked for anything")
		v.begin()
		require.False(t, v.follows("a", at(2)), "nothing was sent")
		require.False(t, v.passed("a", at(2)), "nothing was sent")
		v.sent("a", at(1))
		require.True(t, v.follows("a", at(2)))
		require.False(t, v.follows("a", at(1)))
		require.False(t, v.passed("a", at(1)))
		require.False(t, v.follows("b", at(2)))
		v.sent("a", at(3))
		require.False(t, v.follows("a", at(2)), "a newer one was sent")
		require.True(t, v.passed("a", at(2)), "a newer one was sent")
		require.True(t, v.follows("a", at(4)), "it is newer than what was sent")
		v.sent("a", at(2))
		require.True(t, v.passed("a", at(2)), "the newest one counts")
		v.sent("a", at(4))
		require.False(t, v.follows("a", at(4)))
		for i := range 2 * sentMost {
			v.sent("t/"+strconv.Itoa(i), at(1))
		}
		require.Len(t, v.of, sentMost)
		pass(sentFor + time.Second)
		require.False(t, v.follows("a", at(5)), "that is long ago")
		require.False(t, v.passed("a", at(1)), "that is long ago")
		require.Empty(t, v.of)
	})
}

func TestLongTopicsOfValuesThatWereSentAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v sentValues
		v.begin()
		require.True(t, v.sent(strings.Repeat("a", sentBytes/2), store.Position{}))
		require.False(t, v.sent(strings.Repeat("b", sentBytes), store.Position{}))
		require.False(t, v.sent(strings.Repeat("c", sentBytes/2), store.Position{}))
		require.False(t, v.sent("d", store.Position{}))
		require.Len(t, v.of, 2)
	})
}

func TestAnIdleSessionKeepsNoValuesThatItHasSent(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.publish(1, "T/a", "live")
		c := n.connect("c", clean)
		c.subscribe(1, "T/#")
		s := n.session("c")
		remembered := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.sent.of)
		}
		s.mu.Lock()
		s.sentValue("T/a", store.Position{Offset: 1, Log: 1})
		s.mu.Unlock()
		pass(sentFor / 2)
		require.Equal(t, 1, remembered())
		c.subscribe(1, "T/+") // goes on
		pass(sentFor - time.Second)
		require.Equal(t, 1, remembered())
		pass(2 * time.Second)
		require.Zero(t, remembered())
	})
}
