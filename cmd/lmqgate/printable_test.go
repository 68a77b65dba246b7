package main

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestForeignTextIsShownWithoutWhatCannotBeSeen(t *testing.T) {
	for text, want := range map[string]string{
		"sensor-1":                     "sensor-1",
		"Fühler 1 東京 🚀":                "Fühler 1 東京 🚀",
		"":                             "",
		"ops\u202ecod":                 `ops\u202ecod`,
		"\u2066x\u2069":                `\u2066x\u2069`,
		"a\x1b[31mb":                   `a\u001b[31mb`,
		"a\nb\tc":                      `a\u000ab\u0009c`,
		"a\u200bb\ufeff":               `a\u200bb\ufeff`,
		"a\u00a0b":                     `a\u00a0b`,
		"a\u3164b":                     `a\u3164b`,
		"a\U000e0041b":                 `a\U000e0041b`,
		"a\u009bb":                     `a\u009bb`,
		"nothing but \\u202e in words": "nothing but \\u202e in words",
	} {
		require.Equal(t, want, visible(text))
	}
	require.Equal(t, `line 1 line 2  and \u001b[0m`, oneLine("line 1\nline 2\t\r\nand \x1b[0m\n"))
}

func TestATableShowsNamesThatDifferDifferently(t *testing.T) {
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	require.NoError(t, printTable(cmd, []any{"CLIENT", "NODE"}, [][]any{{"a\nb", 1}, {"a\u200bb", 2}, {"ab", 3}}))
	require.Equal(t, "CLIENT    NODE\na\\u000ab  1\na\\u200bb  2\nab        3\n", out.String())
	require.NoError(t, printJSON(&out, "a\u202eb"))
	require.Contains(t, out.String(), "a\u202eb", "JSON is exact")
}
