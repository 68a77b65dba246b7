package pluginhost

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes puts the plugin into a process group of its own, so that Ctrl-C at a terminal reaches the gateway only,
// which then stops its plugins in order; and has the kernel kill the plugin when the gateway dies, whatever state the
// plugin is in. The signal is tied to the thread that started the process: see spawner.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// endGroupOf waits until a process has ended, and then kills the processes that it has started and left behind, as far as they are in its
// process group still. The process is not waited for here, so nothing else can have its number by then.
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
