package authors

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProjectsOfPluginInitPassTheirTestsAndTheConformanceCases(t *testing.T) {
	t.Parallel()
	need(t, "make", "python3")
	for _, language := range []string{"go", "python"} {
		for _, kind := range []string{"auth", "meta"} {
			t.Run(kind+" in "+language, func(t *testing.T) {
				t.Parallel()
				parent := t.TempDir()
				name := kind + "-begun"
				out := in(t, parent, "lmqgate", "plugin", "init", kind, "--lang", language, name)
				require.Contains(t, out, "make test")
				out = in(t, filepath.Join(parent, name), "make", "test")
				require.Contains(t, out, " 0 failed")
				require.Contains(t, out, name+" 0.1.0, "+kind+" plugin")
			})
		}
	}
}

func TestTheExamplesPassTheirTestsAndTheConformanceCases(t *testing.T) {
	need(t, "make", "python3")
	for _, name := range []string{"auth-python", "meta-sqlite"} {
		t.Run(name, func(t *testing.T) {
			out := in(t, filepath.Join(root(t), "examples", name), "make", "test")
			require.Contains(t, out, " 0 failed")
		})
	}
}
