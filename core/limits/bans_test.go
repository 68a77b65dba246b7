package limits

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const allowed = 20

func TestFailuresDelayTheNextAttemptMoreAndMoreAndThenBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		var last time.Duration
		for i := range allowed - 1 {
			_, banned := b.Failed(ByAddress, "192.0.2.1/32", allowed, "passwords")
			require.False(t, banned)
			delay := b.Delay(ByAddress, "192.0.2.1/32")
			require.Equal(t, i < failuresFree, delay == 0)
			require.GreaterOrEqual(t, delay, last)
			last = delay
		}
		require.Equal(t, longestDelay, last)
		ban, banned := b.Failed(ByAddress, "192.0.2.1/32", allowed, "passwords")
		require.True(t, banned)
		require.Equal(t, time.Now().Add(banFirst), ban.Until)
		_, other := b.Banned(ByAddress, "192.0.2.2/32")
		require.False(t, other)
		time.Sleep(banFirst)
		_, still := b.Banned(ByAddress, "192.0.2.1/32")
		require.False(t, still)
		for range allowed {
			ban, _ = b.Failed(ByAddress, "192.0.2.1/32", allowed, "passwords")
		}
		require.Equal(t, time.Now().Add(2*banFirst), ban.Until, "the next ban is longer")
	})
}

func TestAUserNameIsSlowedDownAndNeverBannedByOthers(t *testing.T) {
	b := NewBans()
	for range 10 * allowed {
		_, banned := b.Failed(ByUser, "ops", allowed, "passwords")
		require.False(t, banned)
	}
	require.Positive(t, b.Delay(ByUser, "ops"))
	b.LoggedIn(Login{User: "ops"}, "ops")
	require.Zero(t, b.Delay(ByUser, "ops"))
}

func TestWhoIsRememberedIsBoundedAndBansByHandStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		require.True(t, b.Add(Ban{ByClient, "c", "by hand", time.Now().Add(time.Hour)}))
		for i := range 2 * most {
			b.Failed(ByUser, strconv.Itoa(i)+strings.Repeat("x", 1000), allowed, "passwords")
		}
		require.LessOrEqual(t, len(b.of), most)
		require.Equal(t, []Ban{{ByClient, "c", "by hand", time.Now().Add(time.Hour)}}, b.List())
		require.True(t, b.Remove(ByClient, "c"))
		require.False(t, b.Remove(ByClient, "c"))
		require.Empty(t, b.List())
		for i := range mostByHand {
			require.True(t, b.Add(Ban{ByClient, strconv.Itoa(i), "by hand", time.Now().Add(time.Hour)}))
		}
		require.False(t, b.Add(Ban{ByClient, "one more", "by hand", time.Now().Add(time.Hour)}))
	})
}

func TestFailuresOfManyNamesDoNotLiftABan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		for range allowed {
			b.Failed(ByAddress, "192.0.2.1/32", allowed, "passwords")
		}
		_, banned := b.Banned(ByAddress, "192.0.2.1/32")
		require.True(t, banned)
		time.Sleep(time.Second)
		for i := range 3 * most {
			b.Failed(ByUser, strconv.Itoa(i), allowed, "passwords")
		}
		require.LessOrEqual(t, len(b.of), most)
		_, banned = b.Banned(ByAddress, "192.0.2.1/32")
		require.True(t, banned)
	})
}
