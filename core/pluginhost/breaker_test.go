package pluginhost

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheBreakerOpensAfterFailuresInARowAndProbesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(time.Second)
		for range breakerFailures - 1 {
			require.True(t, b.allow())
			b.failure(time.Now())
		}
		require.True(t, b.allow())
		b.success()
		time.Sleep(time.Millisecond)
		for range breakerFailures {
			require.True(t, b.allow())
			b.failure(time.Now())
		}
		require.False(t, b.allow())
		time.Sleep(time.Second)
		require.True(t, b.allow())
		require.False(t, b.allow(), "one probe at a time")
		b.failure(time.Now())
		time.Sleep(time.Second)
		require.False(t, b.allow(), "twice the pause")
		time.Sleep(time.Second)
		require.True(t, b.allow())
		b.neutral()
		require.True(t, b.allow(), "a probe that says nothing is made again")
		b.success()
		require.True(t, b.allow())
		require.True(t, b.allow())
	})
}

func TestABusyPluginDoesNotCountAsHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(time.Second)
		for range 3 * breakerFailures {
			began := time.Now()
			require.True(t, b.allow())
			require.True(t, b.allow())
			time.Sleep(time.Second)
			b.success()
			time.Sleep(time.Second)
			b.failure(began) // another call has been answered while this one waited
		}
		require.True(t, b.allow())
	})
}
