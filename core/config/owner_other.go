//go:build !unix

package config

import "io/fs"

// ownedBy cannot tell the owner of a file here, so it returns true.
func ownedBy(fs.FileInfo, int) bool { return true }
