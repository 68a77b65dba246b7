package session

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

func TestAValueFollowsTheLastOneThatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(n int64) store.Position { return store.Position{Broker: "b", Offset: n, Log: n} }
		record := func(n int64, retain bool) *store.Record {
			return &store.Record{Message: store.Message{Topic: "a", Retain: retain}, Position: at(n)}
		}
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
		v.live(record(3, false))
		require.True(t, v.follows("a", at(2)), "it was no value")
		v.live(record(3, true))
		require.False(t, v.follows("a", at(2)), "a newer one was sent")
		require.True(t, v.passed("a", at(2)), "a newer one was sent")
		require.True(t, v.follows("a", at(4)), "it is newer than what came live")
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
