package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/lmqgate/lmqgate/"

// imports are what each directory's code imports of this module, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".go.tmpl") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		out[dir] = append(out[dir], "")
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if rest, own := strings.CutPrefix(name, module); own {
				out[dir] = append(out[dir], rest)
			}
		}
		return nil
	}))
	return out
}

// below says whether a package is a directory, or lies below it.
func below(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func TestImportsPointDownTheList(t *testing.T) {
	page, err := os.ReadFile("architecture.md")
	require.NoError(t, err)
	list := regexp.MustCompile("(?s)## Imports\n.*?```\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, list, "architecture.md has no list of imports")
	var layers [][]string
	for line := range strings.Lines(string(list[1])) {
		layers = append(layers, strings.Fields(line))
	}
	// place returns the layer of a package, and which directory of it the package belongs to.
	place := func(pkg string) (layer int, dir string) {
		layer = -1
		for i, dirs := range layers {
			for _, d := range dirs {
				if below(pkg, d) && len(d) > len(dir) {
					layer, dir = i, d
				}
			}
		}
		return layer, dir
	}
	for pkg, imported := range imports(t) {
		if !below(pkg, "core") && !below(pkg, "cmd") || strings.HasSuffix(pkg, "test") || strings.Contains(pkg, "/templates") {
			continue
		}
		from, dir := place(pkg)
		require.GreaterOrEqual(t, from, 0, "the list of imports in architecture.md lacks %s", pkg)
		for _, name := range imported {
			if !below(name, "core") {
				continue
			}
			to, other := place(name)
			require.True(
				t,
				to > from || other == dir,
				"%s imports %s, which does not stand below it in the list of architecture.md",
				pkg,
				name,
			)
		}
	}
}

func TestAuthorsImportWhatIsMeantForThemOnly(t *testing.T) {
	// What may be imported, by who imports it; the longest directory counts.
	allowed := map[string][]string{
		"core":                           {"core", "internal", "remoting", "plugins/proto", "plugins/sdk/handshake"},
		"plugins":                        {"plugins/sdk", "plugins/proto", "plugins/internal", "internal/exposed", "internal/redact", "internal/regular"},
		"plugins/sdk":                    {"plugins/sdk", "plugins/proto", "plugins/internal", "internal/spelling"},
		"plugins/auth-hmac":              {"plugins/sdk", "plugins/proto", "plugins/auth-hmac/credential"},
		"plugins/meta-namesrv":           {"plugins/sdk", "plugins/proto", "plugins/internal", "internal/redact", "internal/regular", "remoting"},
		"plugins/meta-etcd/etcdtest":     {"internal/freeport"}, // for tests of this project only
		"examples":                       {"plugins/sdk", "plugins/proto"},
		"cmd/lmqgate/scaffold/templates": {"plugins/sdk", "plugins/proto"},
		"remoting":                       {"internal/socket"},
		"internal":                       {"internal", "core/packet"},
	}
	for pkg, imported := range imports(t) {
		var rules []string
		longest := ""
		for dir, may := range allowed {
			if below(pkg, dir) && len(dir) > len(longest) {
				longest, rules = dir, may
			}
		}
		if longest == "" {
			continue
		}
		for _, name := range imported {
			if name == "" {
				continue
			}
			require.True(t, slices.ContainsFunc(rules, func(dir string) bool { return below(name, dir) }),
				"%s imports %s; only %v may be imported there", pkg, name, rules)
		}
	}
}
