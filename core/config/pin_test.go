package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	sumA = "sha256:" + strings.Repeat("a", 64)
	sumB = "sha256:" + strings.Repeat("b", 64)
)

func TestPinsAreWrittenAndEverythingElseOfTheFileStays(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"no section":     {"# top\nlog: {level: info} # why\n", "# top\nlog: {level: info} # why\nplugins:\n  checksums:\n    auth-hmac: \"A\"\n"},
		"no end of line": {"log: {level: info}", "log: {level: info}\nplugins:\n  checksums:\n    auth-hmac: \"A\"\n"},
		"an empty file":  {"", "plugins:\n  checksums:\n    auth-hmac: \"A\"\n"},
		"only comments":  {"# nothing yet\n", "# nothing yet\nplugins:\n  checksums:\n    auth-hmac: \"A\"\n"},
		"a section": {"plugins: # ours\n    # where they are\n    dir: x # here\nlog:\n  level: info\n",
			"plugins: # ours\n    checksums:\n      auth-hmac: \"A\"\n    # where they are\n    dir: x # here\nlog:\n  level: info\n"},
		"a section at the end": {"plugins:\n  dir: x", "plugins:\n  checksums:\n    auth-hmac: \"A\"\n  dir: x"},
		"others are pinned": {"plugins:\n  checksums: # by hand\n    meta-local: \"B\" # the other\n  dir: x\n",
			"plugins:\n  checksums: # by hand\n    auth-hmac: \"A\"\n    meta-local: \"B\" # the other\n  dir: x\n"},
		"it is pinned": {"plugins:\n  checksums:\n    auth-hmac: \"B\" # last year's\n    meta-local: B\n",
			"plugins:\n  checksums:\n    auth-hmac: \"A\" # last year's\n    meta-local: B\n"},
		"pinned in other quotes":  {"plugins: {checksums: {auth-hmac: 'B', x: B}}\n", "plugins: {checksums: {auth-hmac: \"A\", x: B}}\n"},
		"pinned without quotes":   {"plugins: {checksums: {auth-hmac: B}, dir: x}\n", "plugins: {checksums: {auth-hmac: \"A\"}, dir: x}\n"},
		"it is pinned so already": {"plugins: {checksums: {auth-hmac: A}}\n", "plugins: {checksums: {auth-hmac: A}}\n"},
		"braces":                  {"plugins: {dir: \"a}b\"} # x\n", "plugins: {dir: \"a}b\", checksums: {\"auth-hmac\": \"A\"}} # x\n"},
		"empty braces":            {"plugins: {}\n", "plugins: {checksums: {\"auth-hmac\": \"A\"}}\n"},
		"empty checksums":         {"plugins:\n  checksums: {}\n", "plugins:\n  checksums: {\"auth-hmac\": \"A\"}\n"},
		"braces over lines":       {"plugins: {\n  dir: x, # } no\n}\nlog: {}\n", "plugins: {\n  dir: x, # } no\nchecksums: {\"auth-hmac\": \"A\"}}\nlog: {}\n"},
		"JSON":                    {"{\n  \"log\": {\"level\": \"info\"}\n}\n", "{\n  \"log\": {\"level\": \"info\"}\n, \"plugins\": {\"checksums\": {\"auth-hmac\": \"A\"}}}\n"},
		"lines of Windows":        {"plugins:\r\n  dir: x\r\n", "plugins:\r\n  checksums:\r\n    auth-hmac: \"A\"\r\n  dir: x\r\n"},
		"wide characters": {"log: {level: info}\nplugins: {dir: \"\u00fc\u4e16\", checksums: {auth-hmac: B}}\n",
			"log: {level: info}\nplugins: {dir: \"\u00fc\u4e16\", checksums: {auth-hmac: \"A\"}}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			full := strings.NewReplacer("\"A\"", `"`+sumA+`"`, "A}", sumA+"}", "\"B\"", `"`+sumB+`"`, "'B'", "'"+sumB+"'", " B\n", " "+sumB+"\n", " B}", " "+sumB+"}")
			path := filepath.Join(t.TempDir(), "c.yaml")
			require.NoError(t, os.WriteFile(path, []byte(full.Replace(c.before)), 0o640))
			require.NoError(t, os.Chmod(path, 0o640))
			changed, err := Pin(path, map[string]string{"auth-hmac": sumA})
			require.NoError(t, err)
			require.Equal(t, c.before != c.after, changed)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, full.Replace(c.after), string(got))
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
			changed, err = Pin(path, map[string]string{"auth-hmac": sumA})
			require.NoError(t, err)
			require.False(t, changed, "a second time changes nothing")
		})
	}
}

func TestPinsThatCannotBeWrittenSafelyAreToldAndTheFileStays(t *testing.T) {
	for name, text := range map[string]string{
		"an alias":        "x: &p {dir: y}\nplugins: *p\n",
		"an anchor":       "plugins: &p {dir: y}\nlog: {}\n",
		"a merge":         "x: &p {checksums: {a: b}}\nplugins:\n  <<: *p\n",
		"nothing in it":   "plugins:\nlog: {}\n",
		"a folded value":  "plugins:\n  checksums:\n    auth-hmac: >\n      x\n",
		"no YAML":         "plugins: {\n",
		"a list":          "- a\n",
		"two documents":   "log: {}\n---\nlog: {}\n",
		"an indented map": "  log: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.yaml")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			_, err := Pin(path, map[string]string{"auth-hmac": sumA})
			require.ErrorContains(t, err, `write it by hand: plugins: {checksums: {auth-hmac: "`+sumA+`"}}`)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
		})
	}
}

func TestAPinGoesThroughASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real.yaml")
	require.NoError(t, os.WriteFile(path, []byte("log: {}\n"), 0o600))
	link := filepath.Join(dir, "link.yaml")
	require.NoError(t, os.Symlink("real.yaml", link))
	changed, err := Pin(link, map[string]string{"auth-hmac": sumA, "meta-local": sumB})
	require.NoError(t, err)
	require.True(t, changed)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "log: {}\nplugins:\n  checksums:\n    meta-local: \""+sumB+"\"\n    auth-hmac: \""+sumA+"\"\n", string(got))
	c, err := Load(link, []string{"store.type=local"}, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"auth-hmac": sumA, "meta-local": sumB}, c.Plugins.Checksums)
}

func FuzzPin(f *testing.F) {
	for _, s := range []string{"plugins: {}", "plugins:\n  checksums:\n    a: b\n", "{}", "a: [x, {y: 'z'}]\n", "plugins: {dir: \"}\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, err := decodeText(text)
		if err != nil {
			return
		}
		after, err := pinOne(text, "auth-hmac", sumA)
		if err != nil {
			return
		}
		got, err := decodeText(after)
		require.NoError(t, err)
		have, _ := lookup(got, "plugins", "checksums", "auth-hmac")
		require.Equal(t, sumA, have)
		require.GreaterOrEqual(t, len(got), len(before))
	})
}
