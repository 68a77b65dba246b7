package meta

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
)

// brought returns a record as a tail delivers it. Its broker's time differs from the time that the publishing node noted.
func brought(name, payload string, at int64) *store.Record {
	v := value(name, payload, at)
	v.Position.Time -= 3
	return &store.Record{Message: *v.Message, Position: v.Position}
}

func TestWhatATailHasBroughtIsRetainedBeforeTheBackendShowsIt(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		m := start(t, b, "one")
		require.NoError(t, m.SetRetained(ctx, value("a/b", "1", 10)))
		require.NoError(t, m.SetRetained(ctx, value("a/c", "1", 11)))
		m.SeenRetained(brought("a/b", "2", 20))
		m.SeenRetained(brought("a/c", "", 21))
		m.SeenRetained(brought("a/d", "3", 22))
		require.Equal(t, []string{"a/b=2", "a/d=3"}, matched(m, "a/+"))
		require.Equal(t, []string{"a/b=2"}, matched(m, "a/b"))
		require.True(t, m.IsNewest("a/b", value("a/b", "", 20).Position))
		require.False(t, m.IsNewest("a/b", value("a/b", "", 10).Position))
		m.SeenRetained(brought("a/b", "late", 15)) // older, from another physical queue
		require.Equal(t, []string{"a/b=2"}, matched(m, "a/b"))
		require.NoError(t, m.SetRetained(ctx, value("a/b", "2", 20)))
		require.NoError(t, m.SetRetained(ctx, value("a/c", "", 21)))
		require.NoError(t, m.SetRetained(ctx, value("a/d", "4", 23)))
		require.Equal(t, []string{"a/b=2", "a/d=4"}, matched(m, "#"))
		require.Empty(t, m.retained.ahead.since, "the backend shows all of it")
		m.SeenRetained(brought("a/b", "2", 20))
		require.Empty(t, m.retained.ahead.since)
	})
}

func TestWhatTheBackendShowsIsToldUnlessATailHasBroughtItOrSomethingNewer(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		ctx := context.Background()
		one, two := start(t, b, "one"), start(t, b, "two")
		told := make(chan string, 10)
		two.OnRetained(func(v *Retained, version uint64) {
			_, now := two.Retained("#")
			require.LessOrEqual(t, version, now)
			told <- v.Message.Topic + "=" + string(v.Message.Payload)
		})
		two.SeenRetained(brought("brought", "1", 10))
		two.SeenRetained(brought("newer", "2", 20))
		require.NoError(t, one.SetRetained(ctx, value("brought", "1", 10)))
		require.NoError(t, one.SetRetained(ctx, value("newer", "1", 10)))
		require.NoError(t, one.SetRetained(ctx, value("a", "1", 10)))
		require.Equal(t, "a=1", <-told)
		require.NoError(t, one.SetRetained(ctx, value("a", "", 30)))
		require.Equal(t, "a=", <-told)
		require.NotZero(t, two.RemovedSince("a", value("a", "", 30).Position))
		require.Zero(t, two.RemovedSince("a", value("a", "", 31).Position))
		require.Empty(t, told)
	})
}

func TestWhatTailsBroughtIsBoundedAndForgottenInTime(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		for i := range maxAhead + 10 {
			m.SeenRetained(brought(fmt.Sprintf("a/%d", i), "x", int64(i+10)))
		}
		require.Len(t, m.retained.ahead.since, maxAhead)
		m.SeenRetained(brought("large", string(make([]byte, maxAheadBytes)), 1))
		require.Len(t, m.retained.ahead.since, 1)
		m.SeenRetained(brought("small", "x", 2))
		require.Len(t, m.retained.ahead.since, 1)
		require.Equal(t, 1, m.retained.ahead.bytes)
		m.retained.sweepAhead(time.Now().Add(aheadFor / 2))
		require.Len(t, m.retained.ahead.since, 1)
		m.retained.sweepAhead(time.Now().Add(aheadFor + time.Second))
		require.Empty(t, m.retained.ahead.since)
		require.Zero(t, m.retained.ahead.bytes)
	})
}

func TestWhatTheBackendRefusesIsNotRetained(t *testing.T) {
	on(t, metatest.Full(), func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		b.Limit(1)
		m.SeenRetained(brought("a", "x", 10))
		require.ErrorIs(t, m.SetRetained(context.Background(), value("a", "x", 10)), ErrLimit)
		require.Empty(t, matched(m, "#"))
		require.ErrorIs(t, m.SetRetained(context.Background(), value("b", "x", 11)), ErrLimit)
		m.SeenRetained(brought("b", "x", 11)) // the tail delivers it after the refusal
		require.Empty(t, matched(m, "#"))
		for i := range maxRefused + 10 {
			m.retained.forget(fmt.Sprint("c/", i), value("c", "", 20).Position)
		}
		require.Len(t, m.retained.ahead.refused, maxRefused)
		m.retained.sweepAhead(time.Now().Add(aheadFor + time.Second))
		require.Empty(t, m.retained.ahead.refused)
	})
}

func TestWhatIsRetainedForOneClientMatchesNoFilter(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		require.NoError(t, m.SetRetained(context.Background(), value("T/p2p/c", "1", 10)))
		m.SeenRetained(brought("/T/p2p/c/", "2", 20))
		for _, filter := range []string{"#", "T/#", "+/p2p/c", "T/p2p/c", "/#", "/T/p2p/c/"} {
			require.Empty(t, matched(m, filter), filter)
		}
		found, _ := m.RetainedTo("c")
		require.Len(t, found, 2)
		require.NoError(t, m.SetRetained(context.Background(), value("T/p2p/c", "", 30)))
		found, _ = m.RetainedTo("c")
		require.Len(t, found, 1)
		found, _ = m.RetainedTo("d")
		require.Empty(t, found)
	})
}
