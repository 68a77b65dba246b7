//go:build unix

package doctor

import "syscall"

// openFiles returns the hard limit of open files; Go raises the soft limit to it by itself.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}
