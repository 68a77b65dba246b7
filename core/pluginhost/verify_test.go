package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func executable(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask is
	return path
}

func TestOnlyAFileThatNobodyElseCanChangeIsStarted(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t)
	outside := executable(t, filepath.Join(pluginDir(t), "outside"), 0o755)
	good := executable(t, filepath.Join(dir, "good"), 0o755)
	executable(t, filepath.Join(dir, "group"), 0o775)
	executable(t, filepath.Join(dir, "world"), 0o757)
	executable(t, filepath.Join(dir, "data"), 0o644)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "open"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(dir, "open"), 0o777))
	executable(t, filepath.Join(dir, "sub", "inner"), 0o755)
	executable(t, filepath.Join(dir, "open", "inner"), 0o755)
	for name, target := range map[string]string{
		"leads-out": outside, "leads-up": "../" + filepath.Base(filepath.Dir(outside)) + "/outside", "alias": "good",
		"dangling": "nothing", "inner": "sub/inner", "exposed": "open/inner",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}

	for name, want := range map[string]string{
		"nothing": "no executable", "dangling": "no executable", "leads-out": "leads out of plugins.dir", "data": "not executable",
		"group": "chmod go-w", "world": "chmod go-w", "exposed": "the directory", "sub": "not a regular file",
		"sub/inner": "bare name", "..": "bare name", ".": "bare name", "/bin/sh": "bare name", "a\x00b": "cannot be read",
	} {
		_, err := verify(dir, name, "")
		require.ErrorContains(t, err, want, name)
	}
	for _, name := range []string{"good", "alias", "inner"} {
		file, err := verify(dir, name, "")
		require.NoError(t, err, name)
		require.Regexp(t, "^sha256:[0-9a-f]{64}$", file.sum)
	}
	file, err := verify(dir, "alias", "")
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(good)
	require.NoError(t, err)
	require.Equal(t, real, file.path)

	link := filepath.Join(t.TempDir(), "plugins")
	require.NoError(t, os.Symlink(dir, link))
	_, err = verify(link, "good", "")
	require.NoError(t, err, "plugins.dir itself may be a symbolic link")

	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = verify(dir, "good", "")
	require.ErrorContains(t, err, "the directory")
	_, err = verify(filepath.Join(dir, "missing"), "good", "")
	require.ErrorContains(t, err, "plugins.dir")
}

func TestAPinnedChecksumMustBeTheFiles(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t)
	executable(t, filepath.Join(dir, "good"), 0o755)
	sum := sha256.Sum256([]byte("#!/bin/sh\n"))
	digits := hex.EncodeToString(sum[:])
	for _, pinned := range []string{"sha256:" + digits, "SHA256:" + strings.ToUpper(digits)} {
		_, err := verify(dir, "good", pinned)
		require.NoError(t, err)
	}
	_, err := verify(dir, "good", "sha256:"+strings.Repeat("0", 64))
	require.ErrorContains(t, err, "plugins.checksums.good pins sha256:0000")
	require.ErrorContains(t, err, digits)
	for _, bad := range []string{digits, "sha256:", "sha256:zz", "md5:" + digits, "sha256:" + digits + "00"} {
		_, err := New(Options{Dir: dir, Checksums: map[string]string{"good": bad}})
		require.ErrorContains(t, err, "plugins.checksums.good", bad)
	}
}

func TestAPinnedPluginIsStartedOnlyWhileItIsTheOne(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	sum, err := checksum(filepath.Join(h.opts.Dir, "plug-auth"))
	require.NoError(t, err)
	h.opts.Checksums = map[string]string{"plug-auth": sum}
	p := startAuth(t, h, "plug-auth", nil)
	require.True(t, p.Info().Pinned)
	require.Equal(t, sum, p.Info().Checksum)
	h.opts.Checksums["plug-auth"] = "sha256:" + strings.Repeat("1", 64)
	_, err = h.Start(t.Context(), "plug-auth", pluginv1.Kind_KIND_AUTH, nil)
	require.ErrorContains(t, err, "pins")
}
