package authors

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/test/binaries"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// bin is the directory with lmqgate, first on the PATH, and, below plugins, the plugins that the tests' gateways need.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lmqgate-authors-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := binaries.Build(dir, nil, "meta-local", "auth-hmac"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// root returns the root of the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := cluster.Root()
	require.NoError(t, err)
	return dir
}

// need skips the test if a program is missing; in CI it fails the test.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		message := name + " is missing; make test installs it on Debian, as root"
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
}

// in runs a program in a directory and returns its output.
func in(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %q in %s:\n%s", name, args, dir, out)
	return string(out)
}
