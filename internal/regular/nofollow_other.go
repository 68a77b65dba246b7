//go:build !unix

package regular

// noFollow has no flag here: OpenUnlinked sees only links that are there before it opens the file.
const noFollow = 0
