package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// shipped holds the plugins that this package's tests have built, each once.
var shipped struct {
	mu  sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shipped.dir != "" {
		_ = os.RemoveAll(shipped.dir)
	}
	os.Exit(code)
}

// buildPlugin installs a shipped plugin in a directory of the test.
func buildPlugin(t *testing.T, dir, name string) {
	t.Helper()
	shipped.mu.Lock()
	defer shipped.mu.Unlock()
	if shipped.dir == "" {
		made, err := os.MkdirTemp("", "lmqgate-plugins-") //nolint:usetesting // all tests share it
		require.NoError(t, err)
		shipped.dir = made
	}
	built := filepath.Join(shipped.dir, name)
	if _, err := os.Stat(built); err != nil {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", built, "../../plugins/"+name).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	text, err := os.ReadFile(built)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o755))
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

func TestPluginCheckPinsWhatItHasChecked(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	conf := writeFile(t, "c.yaml", "auth: {plugin: none} # for now\nmeta: {plugin: meta-local}\nplugins:\n  dir: "+dir+" # ours\n")
	r := runCommand(t, "", "plugin", "check", "--pin", "--config", conf)
	require.Zero(t, r.status, r.err)
	require.Contains(t, r.out, "\npinned in "+conf+"\n")
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	require.Regexp(t, `^auth: \{plugin: none\} # for now\nmeta: \{plugin: meta-local\}\nplugins:\n  checksums:\n    meta-local: "sha256:[0-9a-f]{64}"\n  dir: `+dir+` # ours\n$`, string(text))
	r = runCommand(t, "", "plugin", "check", "--pin", "--config", conf)
	require.Zero(t, r.status, r.err)
	require.Contains(t, r.out, "(pinned)\npinned in "+conf+" already\n")

	// Another executable is refused until it is pinned anew.
	f, err := os.OpenFile(filepath.Join(dir, "meta-local"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("another build")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r = runCommand(t, "", "plugin", "check", "--config", conf)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "pin the new one with lmqgate plugin check --pin")
	r = runCommand(t, "", "plugin", "check", "--pin", "--config", conf)
	require.Zero(t, r.status, r.err)
	require.Regexp(t, `\(pinned so far: sha256:[0-9a-f]{64}\)\npinned in `, r.out)
	require.Zero(t, runCommand(t, "", "plugin", "check", "--config", conf).status)

	// A plugin that does not pass is not pinned.
	before, err := os.ReadFile(conf)
	require.NoError(t, err)
	r = runCommand(t, "", "plugin", "check", "--pin", "--config", conf, "--set", "meta.config={nope: 1}")
	require.Equal(t, exitFailed, r.status)
	after, err := os.ReadFile(conf)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.Equal(t, exitUsage, runCommand(t, "", "plugin", "check", "--pin", "--set", "plugins.dir="+dir, "--set", "auth.plugin=none", "--set", "store.type=local").status)
}
