//go:build unix

package doctor

import "syscall"

// openFiles is the hard limit of open files, up to which Go raises the soft one by itself.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}
