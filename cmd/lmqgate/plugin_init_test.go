package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPluginInitWritesAProjectAndSaysWhatIsNext(t *testing.T) {
	for _, language := range []string{"go", "python"} {
		for _, kind := range []string{"auth", "meta"} {
			dir := filepath.Join(t.TempDir(), kind+"-shop")
			r := runCommand(t, "", "plugin", "init", kind, "--lang", language, dir)
			require.Zero(t, r.status, r.err)
			require.Contains(t, r.out, kind+"-shop is in "+dir)
			require.Contains(t, r.out, "cd "+dir+"\n  make test")
			require.FileExists(t, filepath.Join(dir, "README.md"))
		}
	}
}

func TestPluginInitRefusesInOneLine(t *testing.T) {
	full, file := t.TempDir(), writeFile(t, "auth-file", "x")
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	named := filepath.Join(full, "auth-full")
	require.NoError(t, os.Mkdir(named, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(named, "x"), nil, 0o600))
	fresh := filepath.Join(t.TempDir(), "auth-shop")
	cases := map[string]struct {
		status int
		args   []string
	}{
		`lmqgate plugin init wants one of auth, meta, not "store"`: {exitUsage, []string{"store", fresh}},
		`--lang wants one of go, python, not "rust"`:               {exitUsage, []string{"auth", "--lang", "rust", fresh}},
		`lmqgate plugin init wants DIR`:                            {exitUsage, []string{"auth"}},
		`does not know what to do with "more"`:                     {exitUsage, []string{"auth", fresh, "more"}},
		named + " is there already and not empty":                  {exitFailed, []string{"auth", named}},
		file + " cannot be the project's directory":                {exitFailed, []string{"auth", file}},
		`"Auth_Shop" cannot be one: use lower-case letters`:        {exitFailed, []string{"auth", filepath.Join(full, "Auth_Shop")}},
		full + " does not hold lmqgate's source: it has no go.mod": {exitFailed, []string{"auth", "--source", full, fresh}},
	}
	for want, c := range cases {
		t.Run(want, func(t *testing.T) {
			r := runCommand(t, "", append([]string{"plugin", "init"}, c.args...)...)
			requireOneErrorLine(t, r)
			require.Equal(t, c.status, r.status)
			require.Contains(t, r.err, want)
			require.NoDirExists(t, fresh, "nothing is written")
		})
	}
	entries, err := os.ReadDir(named)
	require.NoError(t, err)
	require.Len(t, entries, 1, "what is there stays as it is")
}
