package meta

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func banUntil(kind, name string, until time.Time) limits.Ban {
	return limits.Ban{Kind: kind, Name: name, Reason: "why", Until: fromMillis(until.UnixMilli())}
}

func TestABanIsKnownToNodesThatStartLaterUntilItIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		one := start(t, b, "one")
		client := banUntil(limits.ByClient, "a/b", time.Now().Add(time.Hour))
		address := banUntil(limits.ByAddress, "192.0.2.1/32", time.Now().Add(time.Hour))
		require.NoError(t, one.SetBan(t.Context(), client))
		require.NoError(t, one.SetBan(t.Context(), address))
		two := start(t, b, "two")
		require.ElementsMatch(t, []limits.Ban{client, address}, two.Bans())
		told := make(chan struct{}, 100)
		two.OnBansChanged(func() { told <- struct{}{} })
		longer := banUntil(limits.ByClient, "a/b", time.Now().Add(2*time.Hour))
		require.NoError(t, one.SetBan(t.Context(), longer))
		// The first call may still be about what the node began with.
		for <-told; !slices.ContainsFunc(two.Bans(), func(b limits.Ban) bool { return b.Until.Equal(longer.Until) }); <-told {
		}
		require.ElementsMatch(t, []limits.Ban{longer, address}, two.Bans())
		removed, err := two.RemoveBan(t.Context(), limits.ByClient, "a/b")
		require.NoError(t, err)
		require.True(t, removed)
		removed, err = two.RemoveBan(t.Context(), limits.ByClient, "a/b")
		require.NoError(t, err)
		require.False(t, removed)
		eventually(t, func() bool { return len(one.Bans()) == 1 })
	})
}

func TestABanThatHasEndedLeavesTheMetadata(t *testing.T) {
	each(t, func(t *testing.T, b *metatest.Backend) {
		one := start(t, b, "one", func(o *Options) {
			o.PollInterval, o.UpstreamPollInterval, o.HeartbeatInterval, o.LostAfter = time.Second, 10*time.Second, 5*time.Second, time.Minute
		})
		require.NoError(t, one.SetBan(t.Context(), banUntil(limits.ByUser, "u", time.Now().Add(time.Minute))))
		require.NoError(t, one.SetBan(t.Context(), banUntil(limits.ByUser, "v", time.Now().Add(time.Hour))))
		require.Len(t, one.Bans(), 2)
		time.Sleep(time.Minute + time.Millisecond)
		require.Len(t, one.Bans(), 1)
		time.Sleep(2 * bansSwept)
		require.Len(t, b.Keys(NamespaceBans), 1)
		require.NoError(t, one.SetBan(t.Context(), banUntil(limits.ByUser, "u", time.Now().Add(time.Hour))))
		time.Sleep(5 * time.Minute)
		require.Len(t, one.Bans(), 2, "one that began anew stays")
	})
}

func TestABanWrittenByHandIsReadOrNamed(t *testing.T) {
	good := fmt.Sprintf(`{"v":1,"until_ms":%d}`, time.Now().Add(time.Hour).UnixMilli())
	for key, value := range map[string]string{"client/": good, "group/g": good, "c": good, "client/c": `{"v":1}`, "user/u": "x"} {
		_, err := readBan(key, []byte(value))
		require.ErrorContains(t, err, "remove the key", key)
	}
	ban, err := readBan("client/a/b", []byte(good))
	require.NoError(t, err)
	require.Equal(t, "a/b", ban.Name)
}

func TestBansLeaveRoomForOthersInASmallBackend(t *testing.T) {
	eachOf100(t, func(t *testing.T, b *metatest.Backend) {
		m := start(t, b, "one")
		for i := range 5 {
			require.NoError(t, m.SetBan(t.Context(), banUntil(limits.ByUser, fmt.Sprint(i), time.Now().Add(time.Hour))))
		}
		require.ErrorIs(t, m.SetBan(t.Context(), banUntil(limits.ByUser, "more", time.Now().Add(time.Hour))), ErrLimit)
		require.NoError(t, m.SetBan(t.Context(), banUntil(limits.ByUser, "4", time.Now().Add(2*time.Hour))), "one that is there already")
	})
}

func TestABanIsRefusedWhileTheMetadataIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := metatest.New(metatest.Full())
		t.Cleanup(b.Close)
		m := start(t, b, "one")
		ban := banUntil(limits.ByUser, "u", time.Now().Add(time.Hour))
		require.NoError(t, m.SetBan(t.Context(), ban))
		b.Fail(true)
		require.ErrorIs(t, m.SetBan(t.Context(), ban), ErrUnavailable)
		_, err := m.RemoveBan(t.Context(), ban.Kind, ban.Name)
		require.ErrorIs(t, err, ErrUnavailable)
		require.Len(t, m.Bans(), 1)
		b.Fail(false)
	})
}

func TestAnExportKeepsABanForItsTime(t *testing.T) {
	value := func(d time.Duration) []byte {
		return encode(&banRecord{header{recordVersion}, "why", time.Now().Add(d).UnixMilli()})
	}
	ttl, keep := Lifetime(NamespaceBans, value(time.Hour))
	require.True(t, keep)
	require.InDelta(t, time.Hour, ttl, float64(time.Minute))
	_, keep = Lifetime(NamespaceBans, value(-time.Second))
	require.False(t, keep)
	_, keep = Lifetime(NamespaceBans, []byte("x"))
	require.True(t, keep, "somebody may still read it")
}
