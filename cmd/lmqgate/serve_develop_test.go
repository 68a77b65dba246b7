package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDevelopmentFlagsThatAreWrongAreOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth-mine")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--dev-plugin", "auth"}, exitUsage, `--dev-plugin wants auth=... or meta=..., not "auth"`},
		{[]string{"--dev-plugin", "store=x"}, exitUsage, `--dev-plugin wants auth=... or meta=..., not "store=x"`},
		{[]string{"--dev-plugin", "auth="}, exitUsage, `--dev-plugin wants`},
		{[]string{"--dev-plugin", "auth=" + file, "--attach-plugin", "auth=unix:/x"}, exitUsage, "--attach-plugin: there is one auth plugin"},
		{[]string{"--dev-plugin", "auth=./gone"}, exitFailed, "--dev-plugin auth=./gone: stat "},
		{[]string{"--attach-plugin", "auth=unix:/x", "--set", "auth.plugin=none"}, exitFailed, "auth.plugin is none, so nothing is attached to at unix:/x"},
	} {
		r := runCommand(t, "", append([]string{"serve", "--set", "store.type=local", "--set", "meta.plugin=meta-local", "--set", "node.data_dir=" + t.TempDir()}, c.args...)...)
		require.Equal(t, c.status, r.status, r.err)
		require.Contains(t, r.err, c.says)
		lines := bytes.Split(bytes.TrimSpace([]byte(r.err)), []byte("\n"))
		require.Contains(t, string(lines[len(lines)-1]), c.says)
	}
}
