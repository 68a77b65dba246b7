//go:build unix

package limits

import "syscall"

// OpenFiles returns how many files and connections the process may have open, 0 if unknown: the hard limit, because Go raises the soft
// limit to it by itself.
func OpenFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}
