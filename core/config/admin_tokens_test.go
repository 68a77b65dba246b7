package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokensOfTheAdminAPIAreChecked(t *testing.T) {
	const good = "{name: a, role: viewer, token: 0123456789abcdef}"
	for tokens, want := range map[string]string{
		good: "",
		good + ", {name: b, role: admin, token: 0123456789abcdeX}": "",
		"{role: viewer, token: 0123456789abcdef}":                  "admin.tokens[0].name",
		"{name: a, role: operator, token: 0123456789abcdef}":       "admin.tokens[0].role",
		"{name: a, token: 0123456789abcdef}":                       "admin.tokens[0].role",
		"{name: a, role: viewer, token: short}":                    "admin.tokens[0].token",
		"{name: a, role: viewer}":                                  "admin.tokens[0].token",
		"{name: a, role: viewer, token: \"0123456789 abcdef\"}":    "printable ASCII",
		good + ", {name: a, role: admin, token: 0123456789abcdeX}": "admin.tokens[1].name",
		good + ", {name: b, role: admin, token: 0123456789abcdef}": "admin.tokens[1].token",
		"{name: b, role: admin, token: the-main-token-16}":         "admin.tokens[0].token",
		"{name: a, role: viewer, tokn: 0123456789abcdef}":          "admin.tokens[0].tokn",
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		text := []byte("admin: {token: the-main-token-16, tokens: [" + tokens + "]}\n")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		_, err := Load(path, nil, nil)
		if want == "" {
			require.NoError(t, err, tokens)
			continue
		}
		require.ErrorContains(t, err, want, tokens)
		require.NotContains(t, err.Error(), "0123456789", "no token is shown")
		require.NotContains(t, err.Error(), "the-main-token")
	}
}
