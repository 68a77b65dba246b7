package limits

// FilesBeside is how many files a gateway has open at most, besides client connections.
const FilesBeside = 2048

// ConnectionsOf returns how many client connections a process that may have a number of files open (see OpenFiles) has room for: all of
// them but FilesBeside, or but an eighth where that is less. It is 0 if the number is 0 or too large to be a bound.
func ConnectionsOf(files uint64) int {
	const unbounded = 1 << 31
	if files >= unbounded {
		return 0
	}
	return int(files - min(FilesBeside, files/8))
}
