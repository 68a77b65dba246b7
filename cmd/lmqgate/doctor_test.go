package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/doctor"
)

func TestDoctorNamesEachFaultWithItsRemedy(t *testing.T) {
	dir := t.TempDir()
	buildPlugin(t, dir, "meta-local")
	rest := "node: {data_dir: " + filepath.Join(t.TempDir(), "data") + "}\nstore: {type: local}\nplugins: {dir: " + dir + "}\n" +
		"listeners: [{type: tcp, address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nlimits: {node: {memory: 64MiB}}\n"
	const local = "auth: {plugin: none}\nmeta: {plugin: meta-local}\n"
	r := runCommand(t, "", "doctor", "--config", writeFile(t, "c.yaml", rest+local))
	require.Zero(t, r.status, "%s", r.out)
	require.Contains(t, r.out, "ok       plugins: the plugins take their configuration\n")
	require.Contains(t, r.out, "warning  files: auth.plugin is none: every client may do everything\n         -> name an auth plugin")

	for name, tc := range map[string]struct {
		plugins, more string
		flags         []string
		mode          os.FileMode // of the plugin's executable
		what, remedy  string
	}{
		"an unknown key":   {plugins: local, more: "log: {levle: info}\n", what: "log.levle", remedy: "lmqgate config docs"},
		"a plugin missing": {plugins: "auth: {plugin: auth-gone}\nmeta: {plugin: meta-local}\n", what: `auth: plugin "auth-gone"`, remedy: "plugins.dir"},
		"a refused block":  {plugins: "auth: {plugin: none}\nmeta: {plugin: meta-local, config: {pth: x}}\n", what: "unknown key", remedy: "correct meta.config"},
		"another checksum": {plugins: local, flags: []string{"--set", `plugins.checksums={"meta-local": "sha256:` + strings.Repeat("0", 64) + `"}`},
			what: "checksum", remedy: "--pin"},
		"others may write": {plugins: local, mode: 0o777, what: "may be changed by other users", remedy: "chmod"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.mode != 0 {
				require.NoError(t, os.Chmod(filepath.Join(dir, "meta-local"), tc.mode))
				defer func() { require.NoError(t, os.Chmod(filepath.Join(dir, "meta-local"), 0o755)) }()
			}
			conf := writeFile(t, "c.yaml", rest+tc.plugins+tc.more)
			requireFinding(t, runCommand(t, "", append([]string{"doctor", "-o", "json", "--config", conf}, tc.flags...)...), tc.what, tc.remedy)
		})
	}

	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o755))
	for d := open; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	conf := filepath.Join(open, "c.yaml")
	text := strings.Replace(rest+local, "store: {type: local}", "store: {type: local, rocketmq: {access_key: a, secret_key: hidden}}", 1)
	require.NoError(t, os.WriteFile(conf, []byte(text), 0o600))
	require.NoError(t, os.Chmod(conf, 0o644))
	requireFinding(t, runCommand(t, "", "doctor", "-o", "json", "--config", conf), "may read the secrets", "chmod o-rwx")
}

// requireFinding requires a fault in the output of lmqgate doctor -o json.
func requireFinding(t *testing.T, r result, what, remedy string) {
	t.Helper()
	require.Equal(t, exitFailed, r.status)
	requireOneErrorLine(t, result{status: r.status, err: r.err})
	var found []doctor.Finding
	require.NoError(t, json.Unmarshal([]byte(r.out), &found))
	for _, f := range found {
		if f.Level == doctor.Fault {
			require.Contains(t, f.What, what)
			require.Contains(t, f.Remedy, remedy)
			return
		}
	}
	require.Fail(t, "no fault", r.out)
}
