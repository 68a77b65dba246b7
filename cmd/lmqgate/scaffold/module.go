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

// Module says which lmqgate a project in Go builds on.
type Module struct {
	// Version is what go.mod requires.
	Version string
	// Source is the absolute path of lmqgate's source, which go.mod replaces the module with; empty where Version is
	// published.
	Source string
}

// unpublished is the version that stands for sources of which no version is published.
const unpublished = "v0.0.0"

// released is the form of versions that the Go module proxy has.
var released = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.]+)?$`)

// described is what git describe makes of a commit after a tag.
var described = regexp.MustCompile(`-\d+-g[0-9a-f]+$|-dirty$|\+dirty$`)

// ModuleOf finds the module that this binary was built from. version is what the build said of itself; source is a directory
// of lmqgate's source that the caller names, or "".
//
// A binary of a released version builds on that version. One that was built from sources builds on these, where they are
// still there: a version that nobody published cannot be fetched.
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

// holdsModule says whether a directory is the root of lmqgate's source.
func holdsModule(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && moduleLine.Match(text)
}
