//go:build !linux

package pluginhost

// memoryOf is not implemented here: Options.MemoryLimit is only a hint to plugins in Go.
func memoryOf(int) (used uint64, ok bool) { return 0, false }

func offer(int) {}
