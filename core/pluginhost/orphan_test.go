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
	program := install(t, t.TempDir(), "gate-host")
	// Gateways of other tests remove what dead ones have left in the usual directory.
	temp, err := os.MkdirTemp("/tmp", "lmqgate-orphan-") //nolint:usetesting // the path of a socket must be short
	require.NoError(t, err)
	defer os.RemoveAll(temp)
	// gateway starts a gateway, and returns its plugins and the directory of their sockets.
	gateway := func() (cmd *exec.Cmd, pids []int, sockets string) {
		cmd = exec.Command(program)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		lines := bufio.NewScanner(out)
		for range 2 {
			require.True(t, lines.Scan())
			pid, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			pids = append(pids, pid)
		}
		require.True(t, lines.Scan())
		return cmd, pids, lines.Text()
	}
	kill := func(cmd *exec.Cmd, pids []int) {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		for _, pid := range pids {
			eventually(t, "process "+strconv.Itoa(pid)+" is gone", func() bool { return !running(pid) })
		}
	}

	cmd, pids, sockets := gateway()
	require.NoError(t, syscall.Kill(pids[1], syscall.SIGSTOP))
	kill(cmd, pids)
	// The next gateway removes what the dead one left in the file system.
	require.DirExists(t, sockets)
	cmd, pids, _ = gateway()
	require.NoDirExists(t, sockets)
	kill(cmd, pids)
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
