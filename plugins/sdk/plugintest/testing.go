package plugintest

import (
	"os/exec"
	"path/filepath"
	"testing"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// RunAuth runs the cases for auth plugins, each as a subtest.
func RunAuth(t *testing.T, target Target, profile Profile) {
	t.Helper()
	runAll(t, target, profile, pluginv1.Kind_KIND_AUTH)
}

// RunMeta runs the cases for meta plugins, each as a subtest.
func RunMeta(t *testing.T, target Target, profile Profile) {
	t.Helper()
	runAll(t, target, profile, pluginv1.Kind_KIND_META)
}

func runAll(t *testing.T, target Target, profile Profile, want pluginv1.Kind) {
	t.Helper()
	s, err := newSuite(target, profile)
	if err != nil {
		t.Fatal(err)
	}
	s.want = want
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	run := func(cases []check) {
		for _, c := range cases {
			t.Run(c.id(), func(t *testing.T) {
				switch res := s.run(t.Context(), c); res.Outcome {
				case Failed:
					t.Error("\n" + res.Explain())
				case NotApplicable:
					t.Skip(res.Problem)
				}
			})
		}
	}
	run(startCases())
	run(s.kindCases())
}

// Build builds the plugin whose main package is in dir with the go command, and returns it as a target that is removed with the test.
func Build(t *testing.T, dir string) Target {
	t.Helper()
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(abs))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", path, ".") //nolint:gosec // a directory that the test names
	cmd.Dir = abs
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin in %s: %v\n%s", abs, err, out)
	}
	return Executable(path)
}
