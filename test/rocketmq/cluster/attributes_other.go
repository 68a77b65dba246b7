//go:build !linux

package cluster

import "syscall"

// attributes detach a child where that was asked for; only Linux can tie its life to this process.
func attributes(detached bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: detached} }
