// Package binaries builds the gateway and its plugins for tests that run them as programs.
package binaries

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// Build builds into an existing directory what `make build` builds into bin: lmqgate and, below plugins, the named plugins, or all if none
// is named. args are further arguments of go build, such as -race.
func Build(dir string, args []string, plugins ...string) error {
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	into := filepath.Join(dir, "plugins")
	if err := os.Mkdir(into, 0o755); err != nil {
		return err
	}
	if len(plugins) == 0 {
		mains, err := filepath.Glob(filepath.Join(root, "plugins", "*", "main.go"))
		if err != nil {
			return err
		}
		for _, main := range mains {
			plugins = append(plugins, filepath.Base(filepath.Dir(main)))
		}
	}
	pkgs := make([]string, len(plugins))
	for i, name := range plugins {
		pkgs[i] = "./plugins/" + name
	}
	// One go build links its programs concurrently.
	for out, pkgs := range map[string][]string{dir: {"./cmd/lmqgate"}, into: pkgs} {
		cmd := exec.Command("go", slices.Concat([]string{"build", "-ldflags=-s -w", "-o", out + "/"}, args, pkgs)...)
		cmd.Dir = root
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", strings.Join(pkgs, " "), err, text)
		}
	}
	// Whatever the umask: the gateway refuses plugins that others may write.
	return filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
