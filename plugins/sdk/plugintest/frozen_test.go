package plugintest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A plugin of an earlier release also passes today's kit, which requires no more than was promised then.
func TestAFrozenPluginKeepsTheContract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"v1"} {
		built := filepath.Join(dir, version)
		out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", built, "../../../test/frozenplugin/"+version).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.Chmod(built, 0o755))
		for _, kind := range []string{"auth", "meta"} {
			t.Run(version+" "+kind, func(t *testing.T) {
				path := filepath.Join(dir, "frozen-"+kind+"-"+version)
				require.NoError(t, os.Link(built, path))
				if kind == "meta" {
					RunMeta(t, Executable(path), Profile{})
					return
				}
				profile, err := ParseProfile([]byte(`
config: {password: frozen-password}
allow:
  - {client_id: a, username: alice, password: frozen-password, publish: u/alice/x}
  - {client_id: a, username: alice, password: frozen-password, subscribe: u/alice/y}
deny:
  - {client_id: a, username: alice, password: melted-password}
  - {client_id: a, username: alice, password: frozen-password, publish: u/bob/x}
`))
				require.NoError(t, err)
				RunAuth(t, Executable(path), profile)
			})
		}
	}
}
