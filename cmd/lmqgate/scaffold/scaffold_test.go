package scaffold

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The projects are built, tested and served by test/authors.
func TestEveryPlaceholderIsFilledIn(t *testing.T) {
	for _, language := range Languages {
		for _, kind := range Kinds {
			p := Project{
				Kind: kind, Language: language, Dir: filepath.Join(t.TempDir(), "a-b2-c"),
				Module: Module{Version: "v1.2.3"}, Command: "/opt/l m#$/lmqgate",
			}
			require.NoError(t, p.Write())
			left := regexp.MustCompile(`@[A-Z]+@`)
			count := 0
			require.NoError(t, filepath.WalkDir(p.Dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				count++
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NotRegexp(t, left, string(text), path)
				require.NotRegexp(t, left, path)
				require.False(t, strings.HasSuffix(path, ".tmpl"), path)
				return nil
			}))
			require.Greater(t, count, 8)
			local, err := os.ReadFile(filepath.Join(p.Dir, "local.mk"))
			require.NoError(t, err)
			require.Equal(t, "LMQGATE ?= /opt/l m\\#$$/lmqgate\n", string(local), "as make reads it")
			ignored, err := os.ReadFile(filepath.Join(p.Dir, ".gitignore"))
			require.NoError(t, err)
			require.Contains(t, string(ignored), "/local.mk")
		}
	}
}

func TestAGoProjectBuildsOnTheReleaseOrOnTheSource(t *testing.T) {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	for version, want := range map[string]Module{
		"v1.2.3":                   {Version: "v1.2.3"},
		"v1.2.3-rc.1":              {Version: "v1.2.3-rc.1"},
		"v1.2.3-14-g0123abc":       {Version: unpublished, Source: root},
		"v1.2.3-dirty":             {Version: unpublished, Source: root},
		"v1.2.3-14-g0123abc-dirty": {Version: unpublished, Source: root},
		"4ada4e2":                  {Version: unpublished, Source: root},
		"(devel)":                  {Version: unpublished, Source: root},
		"v0.0.0-2026+dirty":        {Version: unpublished, Source: root},
	} {
		got, err := ModuleOf(version, "")
		require.NoError(t, err, version)
		require.Equal(t, want, got, version)
	}
	got, err := ModuleOf("v1.2.3", "../../..")
	require.NoError(t, err)
	require.Equal(t, Module{Version: unpublished, Source: root}, got, "a source that is named wins")

	write := func(m Module) string {
		p := Project{Kind: "auth", Language: "go", Dir: filepath.Join(t.TempDir(), "auth-shop"), Module: m}
		require.NoError(t, p.Write())
		text, err := os.ReadFile(filepath.Join(p.Dir, "go.mod"))
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, write(Module{Version: "v1.2.3"}), "require github.com/lmqgate/lmqgate v1.2.3\n")
	require.NotContains(t, write(Module{Version: "v1.2.3"}), "replace")
	require.Contains(t, write(Module{Version: unpublished, Source: "/a b/c"}), "\nreplace github.com/lmqgate/lmqgate => \"/a b/c\"\n")
}
