package pluginhost

import "syscall"

// processAttributes puts the plugin into a process group of its own, so that Ctrl-C at a terminal reaches the gateway only,
// which then stops its plugins in order; and has the kernel kill the plugin when the gateway dies, whatever state the
// plugin is in. The signal is tied to the thread that started the process: see spawner.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
