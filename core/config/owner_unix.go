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
