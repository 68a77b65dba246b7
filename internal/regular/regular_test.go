package regular

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyRegularFilesAreReadAndNothingIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("file"), []byte("content"), 0o600))
	require.NoError(t, os.Symlink(at("file"), at("link"))) // as Kubernetes mounts secrets
	require.NoError(t, syscall.Mkfifo(at("pipe"), 0o600))
	require.NoError(t, os.Symlink(at("pipe"), at("link-to-pipe")))
	l, err := net.Listen("unix", at("socket"))
	require.NoError(t, err)
	defer l.Close()
	for _, name := range []string{"file", "link"} {
		text, err := Read(at(name))
		require.NoError(t, err)
		require.Equal(t, "content", string(text))
	}
	for path, kind := range map[string]string{at("pipe"): "named pipe", at("link-to-pipe"): "named pipe", dir: "directory", "/dev/null": "device",
		at("socket"): "socket"} {
		_, err := Read(path)
		require.ErrorIs(t, err, ErrNot, path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, kind)
		_, err = KeyPair(path, at("file"))
		require.ErrorIs(t, err, ErrNot, path)
		_, err = KeyPair(at("file"), path)
		require.ErrorIs(t, err, ErrNot, path)
	}
	_, err = Read(at("none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
