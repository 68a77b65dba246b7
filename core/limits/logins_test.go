package limits

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// at makes a Login of a user name from an address.
func at(user, address string) Login {
	return Login{User: user, Client: "c", Source: SourceOf(netip.MustParseAddr(address))}
}

func TestGuessesFromOneNetworkOfIPv6DelayAndBanItWholeAndNobodyElse(t *testing.T) {
	for name, network := range map[string]struct {
		address func(i int) string
		share   int
	}{
		"48 bits": {func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i*257%65536) }, 16},
		"56 bits": {func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i%256) }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBans()
				tries := 0
				for ; tries < 70_000; tries++ {
					l := at(strconv.Itoa(tries), network.address(tries))
					if _, banned := b.AddressBanned(l.Source); banned {
						break
					}
					require.Equal(t, tries > network.share*failuresFree, b.LoginDelay(l) > 0, tries)
					b.LoginFailed(l, allowed, "passwords")
				}
				require.Equal(t, network.share*allowed, tries)
				for _, other := range []string{"2001:db8:2::1", "192.0.2.1"} {
					l := at("u", other)
					_, banned := b.LoginBanned(l)
					require.False(t, banned)
					require.Zero(t, b.LoginDelay(l))
				}
			})
		})
	}
}

func TestAnAddressOfAnIPv6NetworkIsDelayedAndBannedAsBefore(t *testing.T) {
	b := NewBans()
	var bans []Ban
	for i := range allowed {
		bans = append(bans, b.LoginFailed(at(strconv.Itoa(i), "2001:db8::1"), allowed, "passwords")...)
	}
	require.Len(t, bans, 1)
	require.Equal(t, "2001:db8::/64", bans[0].Name)
	_, banned := b.AddressBanned(SourceOf(netip.MustParseAddr("2001:db8:0:1::1")))
	require.False(t, banned)
}

func TestOnePasswordDoesNotHelpToGuessOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a delay is short at first
		b := NewBans()
		for tries := 1; ; tries++ {
			require.LessOrEqual(t, tries, allowed)
			b.LoggedIn(at("attacker", "192.0.2.1"), "attacker")
			b.LoginFailed(at("victim-"+strconv.Itoa(tries), "192.0.2.1"), allowed, "passwords")
			require.Equal(t, tries > failuresFree, b.LoginDelay(at("attacker", "192.0.2.1")) > 0)
			if _, banned := b.AddressBanned(at("", "192.0.2.1").Source); banned {
				return
			}
		}
	})
}

func TestASuccessUnderAnotherIdentityForgivesNothing(t *testing.T) {
	exchange := at("attacker", "192.0.2.1")
	exchange.Exchange = true // its data may name the victim, or the attacker
	for name, c := range map[string]struct {
		fails, succeeds Login
	}{
		"a token, and the victim's user name": {at("victim", "192.0.2.1"), at("victim", "192.0.2.1")},
		"tokens without user names":           {at("", "192.0.2.1"), at("", "192.0.2.1")},
		"an enhanced authentication":          {exchange, exchange},
		"a password after an exchange":        {exchange, at("attacker", "192.0.2.1")},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBans()
			banned := false
			for range allowed {
				b.LoggedIn(c.succeeds, "attacker")
				banned = len(b.LoginFailed(c.fails, allowed, "passwords")) > 0
			}
			require.True(t, banned)
			_, banned = b.LoginBanned(c.fails)
			require.True(t, banned)
			if c.fails.User == "victim" {
				require.Positive(t, b.Delay(ByUser, c.fails.User))
			}
		})
	}
}

func TestALoginThatSucceedsForgivesItsOwnFailures(t *testing.T) {
	b := NewBans()
	for range 10 {
		for range failuresFree - 1 { // a human who mistypes
			require.Empty(t, b.LoginFailed(at("u", "192.0.2.1"), allowed, "passwords"))
		}
		b.LoggedIn(at("u", "192.0.2.1"), "u")
	}
	require.Zero(t, b.LoginDelay(at("u", "192.0.2.1")))
	require.Zero(t, b.Delay(ByUser, "u"))
	require.Zero(t, b.of[keyOf(ByAddress, "192.0.2.1/32")].failures)
}

func TestADeviceWithAWrongPasswordHoldsUpNobodyElseAtItsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBans()
		bad, banned := at("bad", "192.0.2.1"), 0
		for range 1000 {
			if _, kept := b.LoginBanned(bad); !kept {
				for _, ban := range b.LoginFailed(bad, allowed, "passwords") {
					require.Equal(t, ByLogin, ban.Kind)
					banned++
				}
			}
			require.Zero(t, b.LoginDelay(at("good", "192.0.2.1")))
			_, out := b.LoginBanned(at("good", "192.0.2.1"))
			require.False(t, out)
			require.Zero(t, b.LoginDelay(at("bad", "192.0.2.2")), "the user name can log in elsewhere")
			time.Sleep(time.Second)
		}
		require.Positive(t, banned)
	})
}

func TestWhatAnAddressCanForgiveIsBounded(t *testing.T) {
	b := NewBans()
	for i := range 10 * mostNamed {
		b.LoginFailed(at(strconv.Itoa(i), "192.0.2.1"), 1_000_000, "passwords")
	}
	r := b.of[keyOf(ByAddress, "192.0.2.1/32")]
	require.Len(t, r.of, mostNamed)
	require.Equal(t, 10*mostNamed, r.failures)
}

func TestANetworkOpensConnectionsNoQuickerThanSixteenAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets(10)
		taken := 0
		for i := range 10_000 {
			if b.Try(SourceOf(netip.MustParseAddr(fmt.Sprintf("2001:db8:1:%x::1", i*257%65536)))) == 0 {
				taken++
			}
		}
		require.Equal(t, 16*10*burst, taken)
		require.Zero(t, b.Try(SourceOf(netip.MustParseAddr("2001:db8:2::1"))))
		for range 10 * burst {
			require.Zero(t, b.Try(SourceOf(netip.MustParseAddr("192.0.2.1"))))
		}
		require.Positive(t, b.Try(SourceOf(netip.MustParseAddr("192.0.2.1"))))
	})
}
