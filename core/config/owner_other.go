//go:build !unix

package config

import "io/fs"

// ownedBy says whether a file belongs to a user; here nobody can tell.
func ownedBy(fs.FileInfo, int) bool { return true }
