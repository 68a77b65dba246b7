package auth

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// loginOf passes the turnstile and stays with the plugin for a while.
func loginOf(t *turnstile, remote, user string, stays time.Duration) error {
	leave, err := t.pass(context.Background(), Request{RemoteAddr: remote, Username: user})
	if err == nil {
		time.Sleep(stays)
		leave()
	}
	return err
}

func TestALoginWaitsForOneAttemptOfEachOtherSourceAtMost(t *testing.T) {
	for name, honest := range map[string]Request{
		"another address":                     {RemoteAddr: "192.0.2.9:1", Username: "u"},
		"another user from the address":       {RemoteAddr: "192.0.2.1:9", Username: "honest"},
		"another network of IPv6":             {RemoteAddr: "[2001:db8:0:2::1]:1", Username: "u"},
		"a socket file, which has no address": {RemoteAddr: "unix", Username: "u"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTurnstile()
				s.limit = 1
				var wg sync.WaitGroup
				for i := range 500 {
					wg.Go(func() { _ = loginOf(s, fmt.Sprintf("192.0.2.1:%d", i+1), "u", 100*time.Millisecond) })
				}
				synctest.Wait()
				began := time.Now()
				leave, err := s.pass(t.Context(), honest)
				require.NoError(t, err)
				require.LessOrEqual(t, time.Since(began), 200*time.Millisecond)
				leave()
				wg.Wait()
			})
		})
	}
}

// A network of 48 bits holds 65,536 of 64 bits, and counts as sixteen sources.
func TestALoginWaitsForAFewAttemptsOfANetworkOfIPv6AtMost(t *testing.T) {
	for name, network := range map[string]struct {
		attacker func(i int) string
		attempts int
	}{
		"48 bits": {func(i int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:1", i*257%65536) }, 16},
		"56 bits": {func(i int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:1", i%256) }, 1},
	} {
		for _, honest := range []string{"192.0.2.9:1", "[2001:db8:2::1]:1"} {
			t.Run(name+" and "+honest, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newTurnstile()
					s.limit = 1
					const took = 10 * time.Millisecond
					var wg sync.WaitGroup
					for i := range 500 {
						wg.Go(func() { _ = loginOf(s, network.attacker(i), "u", took) })
					}
					synctest.Wait()
					began := time.Now()
					leave, err := s.pass(t.Context(), Request{RemoteAddr: honest, Username: "u"})
					require.NoError(t, err)
					require.LessOrEqual(t, time.Since(began), time.Duration(network.attempts+1)*took)
					leave()
					wg.Wait()
				})
			})
		}
	}
}

func TestLoginsOfANetworkOfIPv6LeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurnstile()
		s.limit = 0
		var wg sync.WaitGroup
		for i := range 2 * waitingLogins {
			wg.Go(func() { _ = loginOf(s, fmt.Sprintf("[2001:db8:1:%x::1]:1", i), "u", 0) })
		}
		synctest.Wait()
		waiting, _ := s.state()
		require.Equal(t, waitingOfNetwork, waiting)
		wg.Go(func() { _ = loginOf(s, "[2001:db8:2::1]:1", "u", 0) })
		synctest.Wait()
		more, _ := s.state()
		require.Equal(t, waiting+1, more)
		wg.Wait()
	})
}

func TestAddressesOfOneIPv6NetworkAreOneSource(t *testing.T) {
	require.Equal(t, sourceOf("[2001:db8::1]:1"), sourceOf("[2001:db8::ffff:1]:2"))
	require.NotEqual(t, sourceOf("[2001:db8::1]:1"), sourceOf("[2001:db8:0:1::1]:1"))
	require.Equal(t, sourceOf("192.0.2.1:1"), sourceOf("[::ffff:192.0.2.1]:2"))
	require.Equal(t, sourceOf("[fe80::1%eth0]:1"), sourceOf("[fe80::2%eth1]:1"))
}

func TestFewerLoginsAreAskedAboutWhereThePluginIsSlowAndMoreWhereItIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurnstile()
		// The plugin checks one password after the other, 50 ms each.
		plugin := make(chan struct{}, 1)
		check := func() { plugin <- struct{}{}; time.Sleep(50 * time.Millisecond); <-plugin }
		var wg sync.WaitGroup
		flood := func(n int, work func()) {
			for i := range n {
				wg.Go(func() {
					leave, err := s.pass(t.Context(), Request{RemoteAddr: fmt.Sprintf("192.0.2.%d:1", i%200)})
					if err == nil {
						work()
						leave()
					}
				})
			}
			wg.Wait()
		}
		flood(200, check)
		_, limit := s.state()
		require.LessOrEqual(t, limit, 2*loginsAtFirst, "a call is answered long before its deadline of 3 s")
		for range 5 {
			flood(4000, func() { time.Sleep(time.Millisecond) })
		}
		_, limit = s.state()
		require.Equal(t, loginsMost, limit)
		flood(600, check)
		_, limit = s.state()
		require.Less(t, limit, loginsMost/2)
		waiting, _ := s.state()
		require.Zero(t, waiting)
		require.Empty(t, s.waiting.branches)
	})
}

func TestLoginsThatWaitAreBoundedInTimeAndNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurnstile()
		s.limit = 1
		leave, err := s.pass(t.Context(), Request{RemoteAddr: "192.0.2.1:1"})
		require.NoError(t, err)
		ended := make(chan error, waitingOfOne)
		for range waitingOfOne {
			go func() { ended <- loginOf(s, "192.0.2.1:1", "u", 0) }()
		}
		synctest.Wait()
		_, err = s.pass(t.Context(), Request{RemoteAddr: "192.0.2.1:1", Username: "u"})
		require.ErrorIs(t, err, errCrowded)
		began := time.Now()
		for range waitingOfOne {
			require.ErrorIs(t, <-ended, errCrowded)
		}
		require.Equal(t, loginPatience, time.Since(began))
		leave()
		require.NoError(t, loginOf(s, "192.0.2.1:1", "u", 0), "those that gave up are not waited for")
	})
}
