package topicfilter

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatchFollowsTheRulesOfMQTT(t *testing.T) {
	cases := []struct {
		filter, name string
		want         bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/b/", false}, {"a/b", "a", false}, {"a", "a/b", false},
		{"#", "a", true}, {"#", "a/b/c", true}, {"#", "/", true}, {"a/#", "a", true}, {"a/#", "a/", true}, {"a/#", "ab", false},
		{"+", "a", true}, {"+", "a/b", false}, {"+", "/a", false}, {"/+", "/a", true}, {"+/+", "/a", true}, {"a/+", "a", false},
		{"a/+", "a/", true}, {"a/+/c", "a/b/c", true}, {"a/+/#", "a/b", true}, {"a/+/#", "a", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"a/+", "a/$x", true}, {"a/#", "a/$x", true},
		{"a/+", "a/+", false}, {"#", "#", false},
	}
	for _, c := range cases {
		require.Equal(t, c.want, Match(c.filter, c.name), "%s matches %s", c.filter, c.name)
	}
}

func TestARuleCoversAFilterOnlyIfItMatchesEverythingTheFilterMatches(t *testing.T) {
	cases := []struct {
		rule, filter string
		want         bool
	}{
		{"a/#", "a/#", true},
		{"a/#", "a", true},
		{"a/#", "a/+", true},
		{"a/#", "a/b/#", true},
		{"a/#", "#", false},
		{"a/#", "+/b", false},
		{
			"a/+",
			"a/#",
			false,
		},
		{"a/+", "a/+", true},
		{"a/+", "a/b", true},
		{"a/+", "a/+/c", false},
		{"a/b", "a/+", false},
		{"a", "a/#", false},
		{"#", "#", true},
		{"#", "+/x", true},
		{"#", "$SYS/#", false},
		{"+/x", "$SYS/x", false},
		{"+/#", "#", true},
		{"+/#", "a/#", true},
		{"#", "+/#", true},
		{"+/+", "#", false},
		{"x/+/#", "x/#", false},
		{"$SYS/#", "$SYS/+", true},
		{"+", "#", false},
		{"/#", "/#", true},
		{"+", "/", false},
		{"+/+", "/", true},
	}
	for _, c := range cases {
		require.Equal(t, c.want, Covers(c.rule, c.filter), "%s covers %s", c.rule, c.filter)
	}
}

func TestFiltersOverlapIfSomeNameMatchesBoth(t *testing.T) {
	cases := []struct {
		a, b string
		want bool
	}{
		{"a/#", "a/b", true}, {"a/#", "#", true}, {"a/#", "b/#", false}, {"a/+", "+/b", true}, {"a/+", "b/+", false}, {"a", "a/#", true},
		{"a/+", "a", false}, {"a/b", "a/b/c", false}, {"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/+", "$SYS/#", true},
		{"#", "+", true}, {"a/b/#", "a", false}, {"+/+", "a/#", true}, {"a/+/c", "a/b/+", true},
	}
	for _, c := range cases {
		require.Equal(t, c.want, Overlaps(c.a, c.b), "%s overlaps %s", c.a, c.b)
		require.Equal(t, c.want, Overlaps(c.b, c.a), "%s overlaps %s", c.b, c.a)
	}
}

func TestValidateRefusesWhatMQTTRefuses(t *testing.T) {
	for _, ok := range []string{"a", "/", "#", "+", "a/+/b/#", "$SYS/#", "a//b", " "} {
		require.NoError(t, Validate(ok), ok)
	}
	for _, bad := range []string{"", "#/a", "a#", "a/b+", "+a", "a\x00b", "\xff", strings.Repeat("a", 65536)} {
		require.Error(t, Validate(bad), bad)
	}
	for _, ok := range []string{"a", "/", "$SYS/x", "a//b", " ", strings.Repeat("a", 65535)} {
		require.NoError(t, ValidateName(ok), ok)
	}
	for _, bad := range []string{"", "#", "a/+", "a+b", "a\x00b", "\xff", strings.Repeat("a", 65536)} {
		require.Error(t, ValidateName(bad), bad)
	}
}

// Covers and Overlaps are compared with their definitions over every name of a small alphabet.
func FuzzComparisonsAgreeWithMatching(f *testing.F) {
	f.Add("a/#", "+/b")
	f.Add("+/#", "#")
	f.Add("$a/+", "+/+")
	names := allNames()
	f.Fuzz(func(t *testing.T, a, b string) {
		if Validate(a) != nil || Validate(b) != nil || strings.Count(a, "/") > 2 || strings.Count(b, "/") > 2 || !small(a) || !small(b) {
			t.Skip()
		}
		covers, overlaps := true, false
		for _, n := range names {
			ma, mb := Match(a, n), Match(b, n)
			covers = covers && (!mb || ma)
			overlaps = overlaps || ma && mb
		}
		require.Equal(t, covers, Covers(a, b), "%q covers %q", a, b)
		require.Equal(t, overlaps, Overlaps(a, b), "%q overlaps %q", a, b)
	})
}

var alphabet = []string{"", "a", "b", "$a"}

func small(filter string) bool {
	for level := range strings.SplitSeq(filter, "/") {
		if level != "+" && level != "#" && level != "" && level != "a" && level != "b" && level != "$a" {
			return false
		}
	}
	return true
}

// allNames returns all names of one to four levels over the alphabet and one level that no filter names.
func allNames() []string {
	words := append([]string{"other"}, alphabet...)
	var all []string
	level := []string{""}
	for depth := range 4 {
		var next []string
		for _, prefix := range level {
			for _, w := range words {
				name := w
				if depth > 0 {
					name = prefix + "/" + w
				}
				next = append(next, name)
			}
		}
		all, level = append(all, next...), next
	}
	return all
}

func TestComparisonsAgreeWithMatchingForEverySmallFilter(t *testing.T) {
	names := allNames()
	var filters []string
	level := []string{""}
	for depth := range 2 {
		var next []string
		for _, prefix := range level {
			for _, w := range append([]string{"+", "#"}, alphabet...) {
				filter := w
				if depth > 0 {
					filter = prefix + "/" + w
				}
				if filter != "" && Validate(filter) == nil {
					filters = append(filters, filter)
				}
				if w != "#" {
					next = append(next, filter)
				}
			}
		}
		level = next
	}
	for _, a := range filters {
		for _, b := range filters {
			covers, overlaps := true, false
			for _, n := range names {
				ma, mb := Match(a, n), Match(b, n)
				covers, overlaps = covers && (!mb || ma), overlaps || ma && mb
			}
			require.Equal(t, covers, Covers(a, b), "%q covers %q", a, b)
			require.Equal(t, overlaps, Overlaps(a, b), "%q overlaps %q", a, b)
		}
	}
}
