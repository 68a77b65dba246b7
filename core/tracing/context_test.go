package tracing

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "00-" + traceID + "-b7ad6b7169203331-01"
)

func TestAContextIsFoundOnlyIfItIsClear(t *testing.T) {
	cases := map[string]struct {
		user                    []pair
		present, valid, sampled bool
	}{
		"none":               {nil, false, false, false},
		"others":             {[]pair{{"a", "b"}, {"Traceparent", parent}}, false, false, false},
		"sampled":            {[]pair{{"a", "b"}, {Parent, parent}}, true, true, true},
		"not sampled":        {[]pair{{Parent, parent[:53] + "00"}}, true, true, false},
		"further flags":      {[]pair{{Parent, parent[:53] + "ff"}}, true, true, true},
		"a later version":    {[]pair{{Parent, "01" + parent[2:] + "-more"}}, true, true, true},
		"too long":           {[]pair{{Parent, parent + "-more"}}, true, false, false},
		"a later one, odd":   {[]pair{{Parent, "01" + parent[2:] + "more"}}, true, false, false},
		"no version":         {[]pair{{Parent, "ff" + parent[2:]}}, true, false, false},
		"short":              {[]pair{{Parent, parent[:54]}}, true, false, false},
		"upper case":         {[]pair{{Parent, strings.ToUpper(parent)}}, true, false, false},
		"flags upper case":   {[]pair{{Parent, parent[:53] + "0F"}}, true, false, false},
		"no hexadecimal":     {[]pair{{Parent, strings.Replace(parent, "a", "g", 1)}}, true, false, false},
		"zero trace":         {[]pair{{Parent, "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01"}}, true, false, false},
		"zero span":          {[]pair{{Parent, "00-" + traceID + "-0000000000000000-01"}}, true, false, false},
		"other separators":   {[]pair{{Parent, strings.ReplaceAll(parent, "-", "_")}}, true, false, false},
		"empty":              {[]pair{{Parent, ""}}, true, false, false},
		"twice":              {[]pair{{Parent, parent}, {Parent, parent}}, true, false, false},
		"a state by itself":  {[]pair{{State, "a=b"}}, false, false, false},
		"with a wrong state": {[]pair{{Parent, parent}, {State, "?"}}, true, true, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := ContextOf(c.user)
			_, sampled := got.sampled()
			require.Equal(t, c.present, got.Present(), "present")
			require.Equal(t, c.valid, got.Valid(), "valid")
			require.Equal(t, c.sampled, sampled, "sampled")
		})
	}
}

func TestAParentReplacesTheOneThatIsThere(t *testing.T) {
	user := []pair{{"a", "1"}, {Parent, parent}, {State, "x=y"}, {"a", "2"}}
	require.Equal(t, []pair{{"a", "1"}, {Parent, "new"}, {State, "x=y"}, {"a", "2"}}, With(user, "new"))
	require.Equal(t, parent, user[1].Value, "the properties of a stored message are shared")
	require.Equal(t, []pair{{"a", "1"}, {Parent, "new"}}, With(user[:1], "new"))
	rest, had := Without(user)
	require.True(t, had)
	require.Equal(t, []pair{{"a", "1"}, {"a", "2"}}, rest)
	_, had = Without(rest)
	require.False(t, had)
}

func FuzzContext(f *testing.F) {
	f.Add(parent, "a=b")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, p, state string) {
		c := ContextOf([]pair{{Parent, p}, {State, state}})
		if _, ok := c.sampled(); ok {
			require.True(t, c.Valid())
		}
	})
}
