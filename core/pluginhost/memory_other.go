//go:build !linux

package pluginhost

// memoryOf always returns false: only Linux tells what a process takes. So Options.MemoryLimit is only a hint to plugins in Go.
func memoryOf(int) (used uint64, ok bool) { return 0, false }

func offer(int) {}
