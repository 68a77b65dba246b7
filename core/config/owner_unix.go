//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// ownedBy reports whether a file belongs to a user or to root.
func ownedBy(info fs.FileInfo, uid int) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (s.Uid == 0 || int(s.Uid) == uid)
}

// foreign reports whether a file in a directory is not known to be of the directory's owner, or of a user: it belongs to neither, or to the
// user alone and has several names. The directory's owner could have made one of them, for a file of the user's elsewhere.
func foreign(file, dir fs.FileInfo, uid int) bool {
	f, ok := file.Sys().(*syscall.Stat_t)
	d, known := dir.Sys().(*syscall.Stat_t)
	return !ok || !known || f.Uid != d.Uid && (int(f.Uid) != uid || f.Nlink > 1)
}
