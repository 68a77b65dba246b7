//go:build unix

package pluginhost

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByStranger reports whether a file belongs to a user other than root and the gateway's user.
func ownedByStranger(info fs.FileInfo) (uid int, stranger bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), s.Uid != 0 && int(s.Uid) != os.Geteuid()
}

// owned reports whether a file belongs to the gateway's user.
func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// openUnlinked opens a file that is not a symbolic link. If it is a pipe, openUnlinked does not wait for a writer.
func openUnlinked(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
