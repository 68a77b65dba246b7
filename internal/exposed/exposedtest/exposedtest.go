// Package exposedtest is for tests of what others may read.
package exposedtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/exposed"
)

// OpenDir returns a directory that every user of the machine may enter; where there is no place for one, the test is skipped.
func OpenDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755)) //nolint:gosec // others are to read the files in it
	}
	probe := filepath.Join(dir, "probe")
	require.NoError(t, os.WriteFile(probe, nil, 0o600))
	require.NoError(t, os.Chmod(probe, 0o644)) //nolint:gosec // as the files of the test
	if !exposed.ToOthers(probe) {
		t.Skip("the directory of temporary files is closed to others")
	}
	return dir
}
