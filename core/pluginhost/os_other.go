//go:build unix && !linux

package pluginhost

import "syscall"

// processAttributes puts the plugin into a process group of its own, so that Ctrl-C at a terminal reaches only the gateway, which then
// stops its plugins cleanly.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// endGroupOf does nothing: here one cannot learn that a process has ended without reaping it, which frees its process id.
func endGroupOf(int) {}
