package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestServeWithoutAFileSaysWhatItRunsOn(t *testing.T) {
	plugins, dir := t.TempDir(), t.TempDir()
	buildPlugin(t, plugins, "meta-local")
	t.Chdir(dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut testlog.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"serve", "--set", `listeners=[{type: tcp, address: "127.0.0.1:0"}]`, "--set", "admin.address=127.0.0.1:0", "--set", "store.type=local",
			"--set", "meta.plugin=meta-local", "--set", "auth.plugin=none", "--set", "plugins.dir=" + plugins,
		}, stdio{strings.NewReader(""), &out, &errOut}, nil)
	}()
	require.Eventually(t, func() bool { return strings.HasPrefix(out.String(), "lmqgate ready ") }, time.Minute, 10*time.Millisecond, "%s", &errOut)
	cancel()
	require.Zero(t, <-ended, &errOut)
	said, _, _ := strings.Cut(errOut.String(), "\n")
	for _, want := range []string{
		"no --config is given, so the defaults apply; lmqgate serve --config conf/standalone.yaml runs without RocketMQ",
		`listeners="tcp 127.0.0.1:0"`, "admin=127.0.0.1:0", "in files in " + filepath.Join(dir, "data", "store"), "metadata=meta-local", "auth=none",
		"data=" + filepath.Join(dir, "data"), "plugins=" + plugins,
	} {
		require.Contains(t, said, want)
	}
	// Commands without a file find the token where the gateway keeps it.
	require.FileExists(t, filepath.Join(dir, "data", "admin-token"))
	s := newAdminServer(t, 200, `{"topics":[]}`)
	r := runCommand(t, "", "topic", "list", "--set", "admin.address="+s.Listener.Addr().String())
	require.Equal(t, result{}, r)
	token, err := os.ReadFile(filepath.Join(dir, "data", "admin-token"))
	require.NoError(t, err)
	require.Equal(t, "Bearer "+strings.TrimSpace(string(token)), s.authorization)
	require.Equal(t, result{}, runCommand(t, "", "topic", "list", "--admin", s.URL))
	require.Empty(t, s.authorization, "a URL alone is no reason to send it")
}

func TestAVariableThatLooksLikeAKeyEndsTheStart(t *testing.T) {
	conf := writeFile(t, "c.yaml", standalone)
	for variable, want := range map[string]string{
		"LMQGATE_LOG_LEVEL=debug":      "LMQGATE_LOG_LEVEL: is no key: levels are divided by two underscores; write LMQGATE_LOG__LEVEL",
		"LMQGATE_LOG__LEVLE=debug":     "LMQGATE_LOG__LEVLE: log.levle: unknown key; the nearest known key is log.level",
		"LMQGATE_ADMIN_TOKEN=whatever": "write LMQGATE_ADMIN__TOKEN",
	} {
		for _, args := range [][]string{{"serve", "--config", conf}, {"config", "check", conf}} {
			var out, errOut bytes.Buffer
			status := run(t.Context(), args, stdio{strings.NewReader(""), &out, &errOut}, []string{"LMQGATE_PORT=tcp://10.0.0.1:1", "LMQGATE_ROCKETMQ=5.4.0", variable})
			r := result{status, out.String(), errOut.String()}
			requireOneErrorLine(t, r)
			require.Contains(t, r.err, want)
		}
	}
}

func TestATemporaryDirectoryThatCannotBeUsedIsOneLineWithTheRemedy(t *testing.T) {
	conf := writeFile(t, "c.yaml", standalone+"log: {level: error}\n")
	t.Setenv("TMPDIR", "/nonexistent")
	r := runCommand(t, "", "serve", "--config", conf)
	requireOneErrorLine(t, r)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "set TMPDIR to a directory that the gateway may write in")
}

func TestServeStopsWhileItWaitsForAPluginThatIsSlowToStart(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	buildPlugin(t, dir, "meta-local") // both plugins start concurrently, and a missing one would end the wait
	require.NoError(t, os.WriteFile(filepath.Join(dir, "auth-slow"), []byte("#!/bin/sh\nexec sleep 600\n"), 0o755))
	conf := writeFile(t, "c.yaml", standalone+"plugins: {dir: "+dir+"}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut testlog.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", conf, "--set", "auth.plugin=auth-slow"}, stdio{strings.NewReader(""), &out, &errOut}, nil)
	}()
	require.Eventually(t, func() bool {
		return strings.Contains(errOut.String(), "waiting for the plugin to say where it listens")
	}, time.Minute, 10*time.Millisecond)
	require.Contains(t, errOut.String(), "plugin=auth-slow")
	require.Contains(t, errOut.String(), "plugins.start_timeout=1m0s")
	cancel()
	require.Zero(t, <-ended, &errOut)
	require.Empty(t, out.String(), "no ready line")
}
