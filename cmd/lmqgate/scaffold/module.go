package scaffold

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
)

// ModulePath is lmqgate's Go module.
const ModulePath = "github.com/lmqgate/lmqgate"

// Module says which version of lmqgate a Go project depends on.
type Module struct {
	// Version is the version in go.mod.
	Version string
	// Source is the absolute path of lmqgate's source for a replace directive in go.mod; empty if Version is published.
	Source string
}

// unpublished is the version of sources without a published version.
const unpublished = "v0.0.0"

// released matches versions that the Go module proxy has.
var released = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.]+)?$`)

// described matches git describe's name of a commit after a tag.
var described = regexp.MustCompile(`-\d+-g[0-9a-f]+$|-dirty$|\+dirty$`)

// ModuleOf finds the module that this binary was built from. version is the version in the build; source is a directory of lmqgate's source
// that the caller names, or "".
//
// Projects of a released binary depend on its version. Projects of a binary that was built from sources depend on these sources, if they
// still exist, because an unpublished version cannot be fetched.
func ModuleOf(version, source string) (Module, error) {
	if source != "" {
		abs, err := filepath.Abs(source)
		if err != nil {
			return Module{}, err
		}
		if !holdsModule(abs) {
			return Module{}, fmt.Errorf("%s does not hold lmqgate's source: it has no go.mod of %s", source, ModulePath)
		}
		return Module{Version: unpublished, Source: abs}, nil
	}
	if released.MatchString(version) && !described.MatchString(version) {
		return Module{Version: version}, nil
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == ModulePath && info.Main.Sum != "" {
		return Module{Version: info.Main.Version}, nil // from the module proxy, by go install
	}
	if _, here, _, ok := runtime.Caller(0); ok && filepath.IsAbs(here) {
		if root := filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(here)))); holdsModule(root) {
			return Module{Version: unpublished, Source: root}, nil
		}
	}
	return Module{}, fmt.Errorf("this lmqgate (%s) is no released version, and its source is not where it was built; name a checkout with --source DIR", version)
}

var moduleLine = regexp.MustCompile(`(?m)^module ` + regexp.QuoteMeta(ModulePath) + `\s*$`)

// holdsModule reports whether a directory is the root of lmqgate's source.
func holdsModule(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && moduleLine.Match(text)
}
