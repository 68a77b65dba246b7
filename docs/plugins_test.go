package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

var (
	sectionField = regexp.MustCompile(`section: *"([a-z-]+)"`)
	sectionConst = regexp.MustCompile(`const proto, section = "[^"]*", "([a-z-]+)"`)
)

// TestTheSectionsThatTheConformanceCasesNameAreThere: a case that fails says where the page tells the rule.
func TestTheSectionsThatTheConformanceCasesNameAreThere(t *testing.T) {
	page, err := os.ReadFile("plugins.md")
	require.NoError(t, err)
	there := anchors(string(page))
	files, err := filepath.Glob("../plugins/sdk/plugintest/*.go")
	require.NoError(t, err)
	named := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range append(sectionField.FindAllStringSubmatch(string(text), -1), sectionConst.FindAllStringSubmatch(string(text), -1)...) {
			require.Contains(t, there, m[1], "%s", f)
			named++
		}
	}
	require.Greater(t, named, 30)
}

// TestTheHandshakeIsTheSameInThePageInGoAndInPython: authors of other languages go by the page.
func TestTheHandshakeIsTheSameInThePageInGoAndInPython(t *testing.T) {
	page, err := os.ReadFile("plugins.md")
	require.NoError(t, err)
	require.Contains(t, string(page), fmt.Sprintf("| `%s` | `%s`.", handshake.CookieKey, handshake.CookieValue))
	require.Contains(t, string(page), fmt.Sprintf("messages of %d MiB", handshake.MaxMessageBytes>>20))
	library, err := os.ReadFile("../plugins/python/lmqgate/plugin/serve.py")
	require.NoError(t, err)
	require.Contains(t, string(library), fmt.Sprintf("COOKIE = (%q, %q)", handshake.CookieKey, handshake.CookieValue))
	versions := "("
	for _, v := range handshake.Versions() {
		versions += fmt.Sprint(v) + ","
	}
	require.Contains(t, string(library), "VERSIONS = "+versions+")\n")
	server, err := os.ReadFile("../plugins/python/lmqgate/plugin/server.py")
	require.NoError(t, err)
	require.Contains(t, string(server), fmt.Sprintf("MAX_MESSAGE_BYTES = %d << 20\n", handshake.MaxMessageBytes>>20))
}
