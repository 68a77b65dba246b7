package topic

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestNamesAreValidatedAsMQTTSays(t *testing.T) {
	valid := []string{
		"a",
		"/",
		"//",
		"a/b",
		"/a",
		"a/",
		"a//b",
		" ",
		"$SYS/x",
		"ü/☃",
		"a%b",
		"a,b",
		"\x01",
		strings.Repeat("x", MaxLength),
		"\uffff",
		"\U0010ffff",
	}
	for _, name := range valid {
		require.NoError(t, ValidateName(name), "%q", name)
	}
	invalid := []string{"", "+", "#", "a/+", "a/#", "a+b", "a#", "\x00", "a\x00b", "\xff", "a/\xc3\x28", "\xed\xa0\x80", "\xc0\x80"}
	for _, name := range invalid {
		require.ErrorIs(t, ValidateName(name), ErrInvalid, "%q", name)
	}
	require.ErrorIs(t, ValidateName(strings.Repeat("x", MaxLength+1)), ErrTooLong)
}

func TestFiltersAreValidatedAsMQTTSays(t *testing.T) {
	valid := []string{
		"a",
		"/",
		"+",
		"#",
		"+/+",
		"/+",
		"+/",
		"a/#",
		"/#",
		"a/+/b",
		"+/a/#",
		"//#",
		"$SYS/#",
		"$share/g/a",
		strings.Repeat("x", MaxLength),
	}
	for _, filter := range valid {
		require.NoError(t, ValidateFilter(filter), "%q", filter)
	}
	invalid := []string{
		"",
		"a+",
		"+a",
		"a/b+",
		"a/+b/c",
		"a#",
		"#a",
		"#/",
		"#/a",
		"a/#/b",
		"##",
		"++",
		"a/##",
		"\x00",
		"\xff",
		"a/\xed\xbf\xbf",
	}
	for _, filter := range invalid {
		require.ErrorIs(t, ValidateFilter(filter), ErrInvalid, "%q", filter)
	}
	require.ErrorIs(t, ValidateFilter(strings.Repeat("x", MaxLength+1)), ErrTooLong)
}

func TestSharedSubscriptionsAreParsed(t *testing.T) {
	cases := []struct {
		filter, group, inner string
		shared, fails        bool
	}{
		{filter: "a/b", inner: "a/b"},
		{filter: "$share", inner: "$share"},
		{filter: "$shared/g/a", inner: "$shared/g/a"},
		{filter: "$share/g/a/#", group: "g", inner: "a/#", shared: true},
		{filter: "$share/g//a", group: "g", inner: "/a", shared: true},
		{filter: "$share/g/$SYS/x", group: "g", inner: "$SYS/x", shared: true},
		{filter: "$share/ü g/+", group: "ü g", inner: "+", shared: true},
		{filter: "$share/", shared: true, fails: true},
		{filter: "$share/g", shared: true, fails: true},
		{filter: "$share/g/", shared: true, fails: true},
		{filter: "$share//a", shared: true, fails: true},
		{filter: "$share/g+/a", shared: true, fails: true},
		{filter: "$share/#/a", shared: true, fails: true},
		{filter: "$share/g/a#", shared: true, fails: true},
		{filter: "a#", inner: "a#", fails: true},
	}
	for _, c := range cases {
		group, inner, shared, err := ParseShared(c.filter)
		require.Equal(t, c.shared, shared, "%q", c.filter)
		if c.fails {
			require.ErrorIs(t, err, ErrInvalid, "%q", c.filter)
			continue
		}
		require.NoError(t, err, "%q", c.filter)
		require.Equal(t, c.group, group, "%q", c.filter)
		require.Equal(t, c.inner, inner, "%q", c.filter)
	}
}

func FuzzValidation(f *testing.F) {
	for _, s := range []string{"a/b", "$share/g/+/x", "a/#", "+", "\x00", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, filter := ValidateName(s), ValidateFilter(s)
		if name == nil {
			require.NoError(t, filter, "every name is a filter")
			require.True(t, utf8.ValidString(s) && !strings.ContainsAny(s, "\x00+#") && s != "")
			require.True(t, Match(s, s))
		}
		if group, inner, shared, err := ParseShared(s); err == nil {
			require.NoError(t, ValidateFilter(inner))
			if shared {
				require.Equal(t, s, "$share/"+group+"/"+inner)
			} else {
				require.Equal(t, s, inner)
			}
		}
	})
}
