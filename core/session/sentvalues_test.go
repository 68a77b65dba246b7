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
		v.retained("a", at(1))
		require.False(t, v.follows("a", at(2)), "no SUBSCRIBE has found anything")
		v.begin()
		require.False(t, v.follows("a", at(2)), "nothing was sent")
		v.live(record(1, true))
		require.False(t, v.follows("a", at(2)), "what came live first has no value before it")
		v.retained("a", at(1))
		require.True(t, v.follows("a", at(2)))
		require.False(t, v.follows("a", at(1)))
		require.False(t, v.follows("b", at(2)))
		v.live(record(3, false))
		require.True(t, v.follows("a", at(2)), "it was no value")
		v.live(record(3, true))
		require.False(t, v.follows("a", at(2)), "a newer one was sent")
		v.retained("a", at(4))
		require.False(t, v.follows("a", at(4)))
		for i := range 2 * sentMost {
			v.retained("t/"+strconv.Itoa(i), at(1))
		}
		require.Len(t, v.of, sentMost)
		pass(sentFor + time.Second)
		require.False(t, v.follows("a", at(5)), "that is long ago")
		require.Empty(t, v.of)
	})
}
