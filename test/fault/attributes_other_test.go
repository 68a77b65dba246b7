//go:build !linux

package fault

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
