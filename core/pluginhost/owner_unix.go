//go:build unix

package pluginhost

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByStranger says whether a file belongs to somebody else than root and the user that the gateway runs as.
func ownedByStranger(info fs.FileInfo) (uid int, stranger bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), s.Uid != 0 && int(s.Uid) != os.Geteuid()
}

// owned says whether a file is of the user that the gateway runs as.
func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// openUnlinked opens a file that is no link, without waiting for a writer where it is a pipe.
func openUnlinked(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
