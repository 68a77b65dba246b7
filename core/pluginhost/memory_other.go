//go:build !linux

package pluginhost

// memoryOf tells nothing here: Options.MemoryLimit is then only a hint to plugins in Go.
func memoryOf(int) (used uint64, ok bool) { return 0, false }

func offer(int) {}
