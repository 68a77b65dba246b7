package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheDependencyPageIsInStepWithTheModule(t *testing.T) {
	page, err := os.ReadFile("../../docs/dependencies.md")
	require.NoError(t, err)
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)

	listed := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = m[2]
	}
	required := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) (v\S+)( // indirect)?$`).FindAllStringSubmatch(string(mod), -1) {
		required[m[1]] = m[2]
		if m[3] == "" {
			require.Contains(t, listed, m[1], "go.mod has a direct dependency that the page does not explain")
		}
	}
	require.NotEmpty(t, listed)
	for name, version := range listed {
		require.Equal(t, required[name], version, name)
	}
}
