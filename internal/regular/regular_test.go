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

func TestALinkInPlaceOfAFileIsNotFollowedWhereThatIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(at("in"), 0o700))
	require.NoError(t, os.WriteFile(at("in/file"), []byte("content"), 0o600))
	require.NoError(t, os.Symlink("file", at("in/link")))
	require.NoError(t, os.Symlink("none", at("in/loose")))
	require.NoError(t, os.Symlink("in", at("there")))
	for _, path := range []string{at("in/link"), at("in/loose"), at("there/link")} {
		_, err := OpenUnlinked(path)
		require.ErrorIs(t, err, ErrNot)
		require.ErrorContains(t, err, path+" is a symbolic link")
		_, err = open(path, noFollow) // it was put there after the look
		require.ErrorIs(t, err, syscall.ELOOP)
	}
	f, err := OpenUnlinked(at("there/file"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = OpenUnlinked(at("in"))
	require.ErrorIs(t, err, ErrNot)
	_, err = OpenUnlinked(at("none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
