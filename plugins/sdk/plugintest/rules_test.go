package plugintest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func allCases() []check {
	cases := append(startCases(), authCases()...)
	return append(append(cases, metaCases()...), lastCases()...)
}

func TestEachCaseHasANameOfItsOwnAndARule(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range allCases() {
		require.False(t, seen[c.id()], c.id())
		seen[c.id()] = true
		require.NotEmpty(t, c.rule.text, c.id())
		require.NotNil(t, c.run, c.id())
	}
	require.Greater(t, len(seen), 50)
}

func TestTheRulesOfTheCasesAreInTheDocumentAndInTheContract(t *testing.T) {
	page, err := os.ReadFile("../../../docs/plugins.md")
	require.NoError(t, err)
	headings := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(page), -1) {
		headings[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	var contract strings.Builder
	for _, name := range []string{"plugin", "auth", "meta"} {
		text, err := os.ReadFile("../../proto/lmqgate/plugin/v1/" + name + ".proto")
		require.NoError(t, err)
		contract.Write(text)
	}
	for _, c := range allCases() {
		require.True(t, headings[c.rule.section], "%s refers to docs/plugins.md#%s", c.id(), c.rule.section)
		for _, part := range regexp.MustCompile(`; | and |, `).Split(c.rule.proto, -1) {
			for word := range strings.SplitSeq(part, ".") { // plugin.proto, Plugin.Describe, MetaTraits.shared
				require.Contains(t, contract.String(), word, "%s refers to %s", c.id(), c.rule.proto)
			}
		}
	}
}
