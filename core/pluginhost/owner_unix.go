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
