package fault

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// mountDisk mounts a small disk in memory, or skips the test if that is not permitted.
func mountDisk(t *testing.T, path string, size int) {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	if err := syscall.Mount("lmqgate-fault", path, "tmpfs", 0, "mode=700,size="+strconv.Itoa(size)); err != nil {
		t.Skipf("a small disk cannot be made here: %v; run it as root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
}

// freeBytes returns the free bytes on a disk.
func freeBytes(path string) (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(path, &s)
	return int64(s.Bavail) * s.Bsize, err
}

// openFiles returns how many files a process may have open.
func openFiles(t *testing.T) int {
	t.Helper()
	var l syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l))
	return int(min(l.Cur, 1<<20))
}

// memory returns the resident memory of the gateway's process, in bytes.
func (n *node) memory(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatal("the kernel does not tell the memory of the process")
	return 0
}
