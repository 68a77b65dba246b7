package spelling

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMistypedWordIsFoundAndAForeignOneIsNot(t *testing.T) {
	words := []string{"serve", "config", "topic", "credentials", "pub", "sub", "plugin", "version"}
	for word, want := range map[string]string{
		"serv": "serve", "confg": "config", "topics": "topic", "cred": "credentials", "plugn": "plugin", "versoin": "version",
		"start": "", "xyzzy": "", "a": "", "": "", "ab": "", "pubs": "pub", "publish": "pub",
		strings.Repeat("p", 1<<20): "",
	} {
		require.Equal(t, want, Nearest(word, words), "%.40q", word)
	}
}

func TestDistanceCountsLetters(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"kitten", "sitting", 3}, {"ü", "u", 1}, {"lvl", "level", 2}} {
		require.Equal(t, c.want, Distance(c.a, c.b))
		require.Equal(t, c.want, Distance(c.b, c.a))
	}
}
