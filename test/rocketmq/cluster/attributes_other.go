//go:build !linux

package cluster

import "syscall"

// attributes detach a child if requested; only Linux can tie its life to this process.
func attributes(detached bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: detached} }
