// Package exposed tells whether every user of the machine may read a file.
package exposed

import (
	"io/fs"
	"os"
	"path/filepath"
)

// ToOthers reports whether users who are neither the file's owner nor in its group may read it: the file is readable, and each directory on
// the way to it is accessible. A file that cannot be examined counts as not exposed.
func ToOthers(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&fs.FileMode(0o001) == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
