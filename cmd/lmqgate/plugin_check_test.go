package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildPlugin builds a shipped plugin into a directory of the test.
func buildPlugin(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../plugins/"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Chmod(path, 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
}

func TestPluginCheckStartsWhatTheConfigurationNames(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	conf := writeFile(t, "c.yaml", "auth: {plugin: none}\nmeta: {plugin: meta-local}\nplugins: {dir: "+dir+"}\n")
	r := runCommand(t, "", "plugin", "check", "--config", conf)
	require.Zero(t, r.status, r.err)
	require.Regexp(t, `^auth: none \(every client may do everything\)\nmeta: meta-local ok, version \S+, sha256:[0-9a-f]{64}\n$`, r.out)
	require.NoFileExists(t, filepath.Join(filepath.Dir(conf), "data"), "a check keeps out of node.data_dir")

	r = runCommand(t, "", "plugin", "check", "--config", conf, "--set", "auth.plugin=auth-nope", "--set", "meta.config={nope: 1}")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "meta.config.nope")
	require.Contains(t, r.err, `plugin "auth-nope"`)
}
