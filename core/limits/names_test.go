package limits

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// parts are what a client can choose to be taken for somebody else.
var parts = []string{"", "dev", "x", "c", "dev/x", "x/c", "/", "//", "@", "c@192.0.2.1/32", `"dev`, `dev"`, `"dev/x"`, `\`, `dev\u002fx`, " ",
	"c (enhanced authentication)", "c@192.0.2.1/32 (enhanced authentication)", "a\nb", `a\nb`, "a\u200bb", `"`, `""`, `"/"`, "東京"}

func TestNoTwoClientsHaveTheSameNameInABan(t *testing.T) {
	for name, grown := range map[string]string{"short": "", "long": strings.Repeat("ü", 200)} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]string{}
			add := func(name, who string) {
				require.Empty(t, seen[name], "%s and %s are both %s", seen[name], who, name)
				require.LessOrEqual(t, len(name), longestName)
				require.True(t, utf8.ValidString(name))
				require.Equal(t, name, BanName(name), "it can be removed by this name")
				seen[name] = who
			}
			for _, user := range parts {
				for _, client := range parts {
					for _, exchange := range []bool{false, true} {
						l := at(grown+user, "192.0.2.1")
						l.Client, l.Exchange = client, exchange
						add(l.Name(), fmt.Sprintf("%q %q %t", user, client, exchange))
					}
				}
			}
		})
	}
}

func TestTheNameOfABanIsReadableAndQuotedOnlyWhereNeeded(t *testing.T) {
	for want, who := range map[string][2]string{
		`alice@example.com/c@192.0.2.1/32`: {"alice@example.com", "c"},
		`/c@192.0.2.1/32`:                  {"", "c"},
		`dev/x/c@192.0.2.1/32`:             {"dev", "x/c"},
		`"dev/x"/c@192.0.2.1/32`:           {"dev/x", "c"},
		`dev/"c@d"@192.0.2.1/32`:           {"dev", "c@d"},
		`Fühler/"c 1"@192.0.2.1/32`:        {"Fühler", "c 1"},
		`dev/"a\u200bb"@192.0.2.1/32`:      {"dev", "a\u200bb"},
	} {
		require.Equal(t, want, FlappingName(who[0], who[1], "192.0.2.1/32"))
	}
	l := at("dev", "192.0.2.1")
	l.Exchange = true
	require.Equal(t, "dev/c@192.0.2.1/32 (enhanced authentication)", l.Name())
	long := strings.Repeat("x", longestName)
	require.Equal(t, long, BanName(long))
	require.True(t, strings.HasPrefix(BanName(long+"y"), "xxx"))
}

func TestALoginForgivesNothingOfOneWhosePartsJoinToTheSame(t *testing.T) {
	long := strings.Repeat("x", longestName)
	login := func(user, client string, exchange bool) Login {
		l := at(user, "192.0.2.1")
		l.Client, l.Exchange = client, exchange
		return l
	}
	for name, c := range map[string]struct{ victim, mine Login }{
		"a slash":              {login("dev/x", "c", false), login("dev", "x/c", false)},
		"an exchange":          {login("dev", "c", true), login("dev", "c (enhanced authentication)", false)},
		"an address":           {login("dev", "c", false), login("dev", "c@192.0.2.1/32", false)},
		"the same long prefix": {login(long+"victim", "c", false), login(long+"mine", "c", false)},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBans()
			banned := 0
			for range allowed {
				b.LoggedIn(c.mine, c.mine.User)
				banned += len(b.LoginFailed(c.victim, allowed, "passwords"))
			}
			require.Equal(t, 1, banned)
			ban, out := b.LoginBanned(c.victim)
			require.True(t, out)
			_, out = b.LoginBanned(c.mine)
			require.False(t, out)
			if c.mine.User != c.victim.User {
				require.Positive(t, b.Delay(ByUser, c.victim.User))
				require.Zero(t, b.Delay(ByUser, c.mine.User))
			}
			require.True(t, b.Remove(ByLogin, ban.Name))
			_, out = b.LoginBanned(c.victim)
			require.False(t, out)
		})
	}
}
