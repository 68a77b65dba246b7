package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
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
		file.close()
		require.Regexp(t, "^sha256:[0-9a-f]{64}$", file.sum)
	}
	file, err := verify(dir, "alias", "")
	require.NoError(t, err)
	defer file.close()
	real, err := filepath.EvalSymlinks(good)
	require.NoError(t, err)
	require.Equal(t, real, file.path)

	link := filepath.Join(t.TempDir(), "plugins")
	require.NoError(t, os.Symlink(dir, link))
	linked, err := verify(link, "good", "")
	require.NoError(t, err, "plugins.dir itself may be a symbolic link")
	linked.close()

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
		file, err := verify(dir, "good", pinned)
		require.NoError(t, err)
		file.close()
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
	file, err := verify(h.opts.Dir, "plug-auth", "")
	require.NoError(t, err)
	file.close()
	sum := file.sum
	h.opts.Checksums = map[string]string{"plug-auth": sum}
	p := startAuth(t, h, "plug-auth", nil)
	require.True(t, p.Info().Pinned)
	require.Equal(t, sum, p.Info().Checksum)
	h.opts.Checksums["plug-auth"] = "sha256:" + strings.Repeat("1", 64)
	_, err = h.Start(t.Context(), "plug-auth", pluginv1.Kind_KIND_AUTH, nil)
	require.ErrorContains(t, err, "pins")
}

// The verified file is started, even if another file takes its name at the worst moment.
func TestAFileThatTakesTheNameAfterItWasVerifiedIsNotStarted(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "plug-auth")
	s, err := h.spec(h.Spec("plug-auth", pluginv1.Kind_KIND_AUTH, nil))
	require.NoError(t, err)
	file, err := verify(s.Dir, s.Name, "")
	require.NoError(t, err)
	defer file.close()
	installVersion(t, h.opts.Dir, "plug-auth", "intruder")
	inst, err := h.begin(t.Context(), s, file)
	require.NoError(t, err)
	defer inst.end(0)
	require.NoError(t, h.introduce(t.Context(), inst))
	require.Equal(t, "1.2.3", inst.describe.GetVersion())
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(inst.process.pid()), "exe"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(exe, file.path), exe)
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(inst.process.pid()), "comm"))
	require.NoError(t, err)
	require.Equal(t, "plug-auth\n", string(comm), "tools show its name")

	// A script is opened by its interpreter, so the file is checked again after the start.
	script := executable(t, filepath.Join(h.opts.Dir, "script"), 0o755)
	s.Name = "script"
	examined, err := verify(s.Dir, s.Name, "")
	require.NoError(t, err)
	defer examined.close()
	require.NoError(t, os.Rename(executable(t, script+".new", 0o755), script))
	require.ErrorContains(t, examined.unchanged(), "was changed while it was being started")
}

func TestAFileOfAnotherUserIsNotStarted(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t)
	path := executable(t, filepath.Join(dir, "good"), 0o755)
	info, err := os.Stat(path)
	require.NoError(t, err)
	_, stranger := ownedByStranger(info)
	require.False(t, stranger)
	if os.Geteuid() != 0 {
		return // only root can give files away
	}
	require.NoError(t, os.Chown(path, 4711, 0))
	_, err = verify(dir, "good", "")
	require.ErrorContains(t, err, "good belongs to user 4711, who may change it; run: chown 0 ")
	require.NoError(t, os.Chown(path, 0, 0))
	require.NoError(t, os.Chown(dir, 4711, 0))
	_, err = verify(dir, "good", "")
	require.ErrorContains(t, err, "belongs to user 4711")
}
