package trustedfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/exposed"
	"github.com/lmqgate/lmqgate/internal/regular"
)

func TestOnlyRegularFilesThatNotEverybodyMayWriteAreRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("12345"), 0o600))
	text, err := Read(path, 5)
	require.NoError(t, err)
	require.Equal(t, "12345", string(text))
	link := filepath.Join(dir, "link") // as Kubernetes mounts secrets
	require.NoError(t, os.Symlink(path, link))
	_, err = Read(link, 5)
	require.NoError(t, err)

	_, err = Read(path, 4)
	require.EqualError(t, err, "is larger than 4 bytes")
	require.NoError(t, os.Chmod(path, 0o662))
	_, err = Read(path, 5)
	require.ErrorContains(t, err, "chmod o-w")
	_, err = Read(dir, 5)
	require.EqualError(t, err, "is not a regular file; put a file with the content in its place")
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err = Read(pipe, 5) // without waiting for a writer
	require.ErrorIs(t, err, regular.ErrNot)
	_, err = ReadSecret(pipe, 5)
	require.ErrorIs(t, err, regular.ErrNot)
	_, err = Read(filepath.Join(dir, "none"), 5)
	require.ErrorContains(t, err, "no such file")
	require.NotContains(t, err.Error(), dir)
}

func TestAFileWithSecretsThatEverybodyMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("12345"), 0o640))
	text, err := ReadSecret(path, 5)
	require.NoError(t, err)
	require.Equal(t, "12345", string(text))
	require.NoError(t, os.Chmod(path, 0o644))
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	if !exposed.ToOthers(path) {
		t.Skip("the directory of temporary files is closed to others")
	}
	_, err = ReadSecret(path, 5)
	require.ErrorContains(t, err, "run `chmod o-rwx` on it")
	require.NoError(t, os.Chmod(dir, 0o700))
	_, err = ReadSecret(path, 5)
	require.NoError(t, err, "nobody else gets there")
}
