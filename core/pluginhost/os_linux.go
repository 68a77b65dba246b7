package pluginhost

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes puts the plugin into a process group of its own, so that Ctrl-C at a terminal reaches only the gateway, which then
// stops its plugins cleanly. It also makes the kernel kill the plugin when the gateway dies, whatever state the plugin is in. That signal
// is tied to the thread that started the process: see spawner.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// endGroupOf waits until a process has ended, and then kills the processes that it left behind in its process group. It does not reap the
// process, so the process id cannot have been reused.
func endGroupOf(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
		return
	}
}
