//go:build linux

package pluginhost

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A gateway that is killed cannot stop anything: the plugins must exit by themselves, even one that is stopped at that moment.
func TestAKilledGatewayLeavesNoPluginBehind(t *testing.T) {
	t.Parallel()
	dir := pluginDir(t)
	install(t, dir, "plug-auth")
	install(t, dir, "plug-stubborn")
	cmd := exec.Command(install(t, t.TempDir(), "gate-host"))
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	lines := bufio.NewScanner(out)
	var pids []int
	for range 2 {
		require.True(t, lines.Scan())
		pid, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	require.True(t, lines.Scan())
	sockets := lines.Text()
	require.NoError(t, syscall.Kill(pids[1], syscall.SIGSTOP))

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for _, pid := range pids {
		eventually(t, "process "+strconv.Itoa(pid)+" is gone", func() bool { return !running(pid) })
	}
	// The next gateway removes what the dead one left in the file system.
	require.DirExists(t, sockets)
	newHost(t)
	require.NoDirExists(t, sockets)
}

// running returns false for a process that has ended, even if it is a zombie: the process that inherited it may be slow to wait.
func running(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
