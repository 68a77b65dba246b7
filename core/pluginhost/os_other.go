//go:build unix && !linux

package pluginhost

import "syscall"

// processAttributes puts the plugin into a process group of its own, so that Ctrl-C at a terminal reaches the gateway only,
// which then stops its plugins in order.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// endGroupOf does nothing: whether a process has ended cannot be told here without giving up its number.
func endGroupOf(int) {}
