package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

func TestPluginTestTellsHowEachCaseWent(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "auth-hmac")
	plugin, profile := filepath.Join(dir, "auth-hmac"), "../../plugins/auth-hmac/plugintest.yaml"

	r := runCommand(t, "", "plugin", "test", plugin, "--profile", profile)
	require.Zero(t, r.status, r.out+r.err)
	require.Empty(t, r.err)
	require.Contains(t, r.out, "\n  ok    denies strangers\n")
	require.Regexp(t, `\n\S+/auth-hmac: auth-hmac \S+, auth plugin, contract 1\n`, r.out)
	require.Regexp(t, `\n\d+ passed, 0 failed, \d+ not applicable, in \d+\.\d s\n$`, r.out)

	// Without --profile the profile beside the executable is used, if there is one.
	r = runCommand(t, "", "plugin", "test", plugin, "--run", "^auth/allows")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.out, "it refuses an empty configuration: users: is required; write a profile and name it with --profile")
	require.Contains(t, r.out, "note: there is no profile")
	require.Equal(t, "lmqgate: "+plugin+" fails 1 of 7 cases\n", r.err)
	text, err := os.ReadFile(profile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, plugintest.ProfileName), text, 0o600))
	r = runCommand(t, "", "plugin", "test", plugin, "--run", "^auth/allows")
	require.Zero(t, r.status, r.out+r.err)
	require.Regexp(t, `\n7 passed, 0 failed,`, r.out, "the cases that bring the plugin up, and the one that is asked for")
}

func TestPluginTestSaysWhatWasAskedWhatCameAndWhichRule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth-allows-everything")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", path, "../../test/brokenplugins").CombinedOutput()
	require.NoError(t, err, "%s", out)
	profile := writeFile(t, "plugintest.yaml", `
config: {users: [{username: alice, password: alices-password}]}
deny: [{client_id: a, username: alice, password: not-alices-password}]
`)
	r := runCommand(t, "", "plugin", "test", path, "--profile", profile, "--run", "^auth/denies what")
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, "lmqgate: "+path+" fails 1 of 7 cases\n", r.err)
	_, failure, found := strings.Cut(r.out, "  FAIL  denies what the profile says is denied, as an answer\n")
	require.True(t, found, r.out)
	lines := strings.Split(failure, "\n")
	require.Equal(t, `        what:  it admits, and the profile denies: CONNECT of client id "a", user name "alice"`, lines[0])
	require.Contains(t, lines[1], `        asked: Authenticate{connection: {client_id: "a", has_username: true, username: "alice"`)
	require.Contains(t, lines[1], `password: <19 bytes>`)
	require.Equal(t, `        came:  AuthenticateResponse{identity: "alice"}`, lines[2])
	require.Contains(t, lines[3], `        rule:  A denial is an answer, not a gRPC error`)
	require.Contains(t, lines[4], `        see:   docs/plugins.md#`)
	require.Contains(t, lines[4], `plugins/proto: auth.proto, Auth.Authenticate`)

	r = runCommand(t, "", "plugin", "test", path, "--profile", profile, "--run", "^auth/denies what", "-o", "json")
	require.Equal(t, exitFailed, r.status)
	var report plugintest.Report
	require.NoError(t, json.Unmarshal([]byte(r.out), &report))
	require.Equal(t, "auth-allows-everything", report.Name)
	require.Equal(t, "auth", report.Kind)
	require.Equal(t, 1, report.Contract)
	require.True(t, report.Secure)
	require.Len(t, report.Results, 7)
	last := report.Results[6]
	require.Equal(t, plugintest.Failed, last.Outcome)
	require.Contains(t, last.Problem, "it admits")
	require.NotContains(t, r.out, "alices-password")
}

func TestPluginTestRefusesAWrongCommandLineInOneLine(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("text"), 0o600))
	bad := writeFile(t, "bad.yaml", "allow: [{client_id: a, pubish: x}]\n")
	good := writeFile(t, "good.yaml", "config: {file: x}\n")
	cases := []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{}, exitUsage, "wants EXECUTABLE"},
		{[]string{filepath.Join(dir, "none")}, exitFailed, "there is no file " + filepath.Join(dir, "none")},
		{[]string{dir}, exitFailed, "is a directory; name the plugin's executable"},
		{[]string{plain}, exitFailed, "is not executable; run: chmod u+x " + plain},
		{[]string{plain, "--profile", filepath.Join(dir, "none.yaml")}, exitFailed, "there is no profile"},
		{[]string{plain, "--profile", bad}, exitFailed, "allow[0].pubish: unknown key; did you mean publish?"},
		{[]string{plain, "--profile", good, "--set", "allow=x"}, exitFailed, `"allow=x" sets nothing; write config.KEY=VALUE`},
		{[]string{plain, "--run", "("}, exitUsage, "--run is no regular expression"},
	}
	for _, c := range cases {
		r := runCommand(t, "", append([]string{"plugin", "test"}, c.args...)...)
		require.Equal(t, c.status, r.status, r.err)
		require.Contains(t, r.err, c.says)
		require.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
		require.Empty(t, r.out)
	}
}

func TestPluginTestTakesWhatOnlyTheRunKnows(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	plugin, profile := filepath.Join(dir, "meta-local"), "../../plugins/meta-local/plugintest.yaml"
	r := runCommand(t, "", "plugin", "test", plugin, "--profile", profile, "--run", "^meta/reads back", "--set", "config.path=${TMP}/other.db")
	require.Zero(t, r.status, r.out+r.err)
	r = runCommand(t, "", "plugin", "test", plugin, "--profile", profile, "--run", "^meta/reads back", "--set", "config.pth=x")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.out, "it refuses the profile's configuration: pth: unknown key; did you mean path?")
}

func TestPluginTestSaysWhatDidNotStart(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
		return path
	}
	for text, want := range map[string]string{
		"exec sleep 30\n":                       "did not start: no handshake line within 1s; a gateway waits for plugins.start_timeout, this test for --start-timeout",
		"echo one >&2; echo two >&2; exit 3\n":  `did not start: the process ended before it printed a handshake line: exit status 3; its last 2 lines were: "one" | "two"`,
		"echo hello; exec sleep 30\n":           `did not start: its first line is "hello"; it must be the handshake line`,
		"echo '1|1|unix|/x|netrpc'; sleep 30\n": `did not start: it speaks "netrpc"; a plugin must speak grpc`,
	} {
		path, patience := script("auth-mine", text), "1m"
		if text == "exec sleep 30\n" {
			patience = "1s"
		}
		r := runCommand(t, "", "plugin", "test", path, "--start-timeout", patience, "--run", "^none$")
		require.Equal(t, exitFailed, r.status)
		requireOneErrorLine(t, r)
		require.Contains(t, r.err, "lmqgate: "+path+" "+want)
		require.Contains(t, r.out, "FAIL  prints its handshake line")
	}
}
