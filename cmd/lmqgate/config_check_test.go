package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigDocsPrintsTheReferenceOfTheDocuments(t *testing.T) {
	document, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	r := runCommand(t, "", "config", "docs")
	require.Zero(t, r.status)
	require.Contains(t, r.out, "| `log.level` |")
	require.Contains(t, string(document), r.out)
}

func TestConfigCheckTellsWhatThePluginsRefuseByFileAndLine(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "auth-hmac")
	buildPlugin(t, dir, "meta-local")
	data := filepath.Join(t.TempDir(), "data")
	rest := "node: {data_dir: " + data + "}\nstore: {type: local}\nplugins: {dir: " + dir + "}\n"
	conf := writeFile(t, "c.yaml", rest+`auth:
  plugin: auth-hmac
  config:
    users:
    - {username: a, secret_key: k}
    - {username: b}
meta:
  plugin: meta-local
  config: {pth: x}
`)
	r := runCommand(t, "", "config", "check", conf)
	require.Equal(t, exitFailed, r.status)
	require.Empty(t, r.out)
	require.Contains(t, r.err, "lmqgate: "+conf+":9: auth.config.users[1]")
	require.Contains(t, r.err, "lmqgate: "+conf+":12: meta.config.pth: unknown key")

	conf = writeFile(t, "c.yaml", rest+"auth: {plugin: none}\nmeta:\n  plugin: meta-local\n")
	r = runCommand(t, "", "config", "check", conf)
	require.Equal(t, result{0, conf + ": ok\n", ""}, r)
	require.NoDirExists(t, data, "nothing is opened")

	// A plugin that the gateway would refuse to start is a problem, too.
	require.NoError(t, os.Chmod(filepath.Join(dir, "meta-local"), 0o777))
	r = runCommand(t, "", "config", "check", conf)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, conf+":6: meta.plugin: plugin \"meta-local\": ")
	require.Contains(t, r.err, "may be changed by other users")
}

func TestNobodyServesWhatEverybodyKnowsOrMayRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	conf := filepath.Join(dir, "c.yaml")
	cases := map[string]struct {
		text string
		want string
	}{
		"the demonstration user on an open listener": {
			"listeners: [{type: tcp, address: \":0\"}]\nauth: {config: {users: [{username: demo, secret_key: demo-secret}]}}\n",
			"auth.config.users[0].secret_key: everybody knows the secret key demo-secret, and listeners[0] (:0) is open to other machines: choose a secret key of your own"},
		"a secret in a file that everybody may read": {
			"auth: {config: {users: [{username: u, secret_key: mine}]}}\n",
			"every user of this machine may read the secrets in it (auth.config.users[0].secret_key); run: chmod o-rwx " + conf},
		"a token that is short": {"admin: {token: sesame}\n", "admin.token: has 6 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(conf, []byte(c.text), 0o644))
			require.NoError(t, os.Chmod(conf, 0o644))
			for _, args := range [][]string{{"config", "check", conf}, {"serve", "--config", conf}} {
				r := runCommand(t, "", args...)
				requireOneErrorLine(t, r)
				require.Equal(t, exitFailed, r.status)
				require.Contains(t, r.err, c.want)
			}
		})
	}
	// A client of the gateway may use the file as it is.
	require.NoError(t, os.WriteFile(conf, []byte("auth: {config: {users: [{username: u, secret_key: mine}]}}\n"), 0o644))
	require.Zero(t, runCommand(t, "", "credentials", "--config", conf, "--client-id", "c").status)
}
