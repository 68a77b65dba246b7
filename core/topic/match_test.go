package topic

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

var matchCases = []struct {
	filter, name string
	want         bool
}{
	{"a", "a", true},
	{"a", "b", false},
	{"a", "a/", false},
	{"a/", "a", false},
	{"a/b", "a/b", true},
	{"a/b", "a/b/c", false},
	{"a/b/c", "a/b", false},
	{"/a", "a", false},
	{"/a", "/a", true},
	{"A", "a", false},
	{"+", "a", true},
	{"+", "a/b", false},
	{"+", "/a", false},
	{"/+", "/a", true},
	{"+/+", "/a", true},
	{"+/+", "/", true},
	{"a/+", "a", false},
	{"a/+", "a/", true},
	{"a/+/c", "a//c", true},
	{"a/+/c", "a/b/c", true},
	{"a/+/c", "a/b/d", false},
	{"#", "a", true},
	{"#", "/", true},
	{"#", "a/b/c", true},
	{"a/#", "a", true},
	{"a/#", "a/", true},
	{"a/#", "a/b/c", true},
	{"a/#", "ab", false},
	{"a/b/#", "a", false},
	{"/#", "/a", true},
	{"/#", "a", false},
	{"+/#", "a", true},
	{"+/b/#", "a/b", true},
	{"a/+/#", "a", false},
	{"a/+/#", "a/b", true},
	{"//#", "/", true},
	{"#", "$SYS/a", false},
	{"+/a", "$SYS/a", false},
	{"+", "$SYS", false},
	{"+/#", "$SYS/a", false},
	{"$SYS/#", "$SYS/a", true},
	{"$SYS/#", "$SYS", true},
	{"$SYS/+", "$SYS/a", true},
	{"$SYS", "$SYS", true},
	{"a/#", "a/$b", true},
	{"/+/a", "/$SYS/a", true},
}

func TestFiltersMatchNamesAsMQTTSays(t *testing.T) {
	for _, c := range matchCases {
		require.Equal(t, c.want, Match(c.filter, c.name), "filter %q, name %q", c.filter, c.name)
	}
}

func TestFirstLevelIsTheTextBeforeTheFirstSlash(t *testing.T) {
	cases := []struct {
		s, first              string
		wildcard, firstIsWild bool
	}{
		{"a", "a", false, false},
		{"a/b", "a", false, false},
		{"/a/b", "a", false, false},
		{"//a", "", false, false},
		{"/", "", false, false},
		{"", "", false, false},
		{"a/", "a", false, false},
		{"a/+", "a", true, false},
		{"a/#", "a", true, false},
		{"//#", "", true, false},
		{"+", "+", true, true},
		{"#", "#", true, true},
		{"/+/x", "+", true, true},
		{"+/x", "+", true, true},
		{"/#", "#", true, true},
		{"/+", "+", true, true},
		{"a/+/x", "a", true, false},
	}
	for _, c := range cases {
		require.Equal(t, c.first, First(c.s), "%q", c.s)
		require.Equal(t, c.wildcard, IsWildcard(c.s), "%q", c.s)
		require.Equal(t, c.firstIsWild, HasWildcardFirst(c.s), "%q", c.s)
	}
}

// matchSlow is the definition of matching, level by level.
func matchSlow(filter, name string) bool {
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	for i := range f {
		if f[i] == "#" {
			return true
		}
		if i >= len(n) || f[i] != "+" && f[i] != n[i] {
			return false
		}
		if i == len(f)-2 && f[i+1] == "#" && len(n) == i+1 {
			return true
		}
	}
	return len(f) == len(n)
}

func FuzzMatch(f *testing.F) {
	for _, c := range matchCases {
		f.Add(c.filter, c.name)
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		if ValidateFilter(filter) != nil || ValidateName(name) != nil {
			return
		}
		want := matchSlow(filter, name)
		require.Equal(t, want, Match(filter, name))
		trie := NewTrie[int]()
		require.True(t, trie.Add(filter, 1))
		got := 0
		trie.Match(name, func(int) { got++ })
		require.Equal(t, want, got == 1)
		require.True(t, trie.Remove(filter, 1))
		require.Zero(t, trie.Len())
		if want && !HasWildcardFirst(filter) {
			require.Equal(t, First(filter), First(name), "a match stays in its first-level topic")
		}
	})
}

// allOf returns all names and filters of up to three levels from a few.
func allOf() (names, filters []string) {
	levels := []string{"a", "b", "", "$x", "+", "#"}
	var build func(prefix string, depth int)
	build = func(prefix string, depth int) {
		for _, l := range levels {
			s := prefix + l
			if ValidateFilter(s) == nil {
				filters = append(filters, s)
			}
			if ValidateName(s) == nil {
				names = append(names, s)
			}
			if depth > 1 {
				build(s+"/", depth-1)
			}
		}
	}
	build("", 3)
	return append(names, ""), filters // "" is the parent of "/#"
}

func TestFiltersOverlapWhereANameMatchesBoth(t *testing.T) {
	names, filters := allOf()
	for _, a := range filters {
		for _, b := range filters {
			both := slices.ContainsFunc(names, func(n string) bool { return Match(a, n) && Match(b, n) })
			require.Equal(t, both, Overlap(a, b), "%q and %q", a, b)
		}
	}
}

func TestAFilterCoversAnotherWhereItMatchesAllThatTheOtherDoes(t *testing.T) {
	names, filters := allOf()
	for _, a := range filters {
		for _, b := range filters {
			require.Equal(t, topicfilter.Covers(a, b), Covers(a, b), "%q and %q, as plugins compare them", a, b)
			if Covers(a, b) {
				more := slices.IndexFunc(names, func(n string) bool { return Match(b, n) && !Match(a, n) })
				require.Negative(t, more, "%q and %q", a, b)
			}
		}
	}
}

func TestTheGatewaysOwnTopicsAreToldFromOthersBelowSys(t *testing.T) {
	for filter, want := range map[string][2]bool{ // IsOwn, MatchesOwn
		"$SYS/broker": {true, true}, "$SYS/broker/": {true, true}, "$SYS/broker/#": {true, true}, "$SYS/broker/load/+": {true, true},
		"$SYS/#": {false, true}, "$SYS/+": {false, true}, "$SYS/+/x": {false, true},
		"$SYS": {}, "$SYS/": {}, "$SYS/x": {}, "$SYS/brokers": {}, "$SYS/x/broker": {}, "#": {}, "+/broker": {}, "/$SYS/broker": {}, "SYS/broker": {},
	} {
		require.Equal(t, want, [2]bool{IsOwn(filter), MatchesOwn(filter)}, filter)
	}
}
