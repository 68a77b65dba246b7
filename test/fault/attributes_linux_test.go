package fault

import "syscall"

// dieWithTest makes the kernel kill a process when the test binary dies without stopping it.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
