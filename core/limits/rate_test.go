package limits

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABucketHoldsToItsRateAndAllowsABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(10)
		begun := time.Now()
		for range 120 {
			time.Sleep(b.Take(1))
		}
		require.InDelta(t, 10, time.Since(begun).Seconds(), 0.2, "20 at once, and 10 a second")
		time.Sleep(time.Hour)
		require.Zero(t, b.Take(20), "what was not used for long is worth two seconds")
		require.Equal(t, time.Second, b.Take(10))
		require.Equal(t, 1100*time.Millisecond, b.Try(1), "nothing is taken that is not there")
		require.Equal(t, time.Second, b.Wait())
	})
}

func TestNoRateIsNoLimit(t *testing.T) {
	b := NewBucket(0)
	require.Zero(t, b.Take(1e9))
	require.Zero(t, b.Try(1e9))
	require.Zero(t, b.Wait())
}
