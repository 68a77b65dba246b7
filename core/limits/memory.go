package limits

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// SetMemory sets the soft limit of the process's memory, in bytes, and returns it. GOMEMLIMIT counts before anything else; math.MaxInt64
// means that there is no limit (GOMEMLIMIT=off). asked is what the configuration says; 0: half of what the control group or the machine
// has.
func SetMemory(asked int64) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return debug.SetMemoryLimit(-1) // the runtime has read it
	}
	if asked == 0 {
		asked = Available() / 2
	}
	if asked <= 0 {
		return math.MaxInt64
	}
	debug.SetMemoryLimit(asked)
	return asked
}

// Available is the memory of the control group or, where that has no limit, of the machine; 0 where it is not known.
func Available() int64 {
	least := int64(0)
	for _, n := range []int64{machine("/proc/meminfo"), group("/proc/self/cgroup", "/sys/fs/cgroup")} {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// machine reads how much memory there is from what the kernel tells of it.
func machine(path string) int64 {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// group reads the lowest limit of the process's control groups, of version 2 or 1; 0 where there is none.
func group(self, root string) int64 {
	b, err := os.ReadFile(filepath.Clean(self))
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, file := filepath.Join(root, parts[2]), "memory.max"
		stop := root
		if parts[1] == "memory" {
			stop = filepath.Join(root, "memory")
			dir, file = filepath.Join(stop, parts[2]), "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		// A group is bound by those above it as well. In a container the path may be the host's, so the root counts in any case.
		for ; strings.HasPrefix(dir, stop); dir = filepath.Dir(dir) {
			if n := number(filepath.Join(dir, file)); n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return least
}

func number(path string) int64 {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n >= math.MaxInt64/2 { // "max", and what version 1 says in its place
		return 0
	}
	return n
}

// Watermark tells when the process is short of memory: what is in use, garbage left out, is more than 85% of the limit. It ends being
// short at 75%.
type Watermark struct {
	limit atomic.Int64
	inUse func() int64
	high  atomic.Bool
}

// NewWatermark makes a Watermark for a limit of SetMemory.
func NewWatermark(limit int64) *Watermark {
	w := &Watermark{inUse: inUse}
	w.limit.Store(limit)
	return w
}

// SetLimit changes the limit; the next Look goes by it.
func (w *Watermark) SetLimit(limit int64) { w.limit.Store(limit) }

// High reports whether the process is short of memory, as Look has last seen it. It is false for a nil Watermark.
func (w *Watermark) High() bool { return w != nil && w.high.Load() }

// Limit is the limit that it watches.
func (w *Watermark) Limit() int64 { return w.limit.Load() }

// Look measures, and reports how much is in use and whether that has made the answer of High another one.
func (w *Watermark) Look() (used int64, changed bool) {
	limit := w.limit.Load()
	if limit == math.MaxInt64 {
		return 0, w.high.Swap(false)
	}
	used = w.inUse()
	high := used > limit/100*85 || w.high.Load() && used > limit/100*75
	return used, w.high.Swap(high) != high
}

// LookEvery is how often to look.
const LookEvery = 100 * time.Millisecond

// inUse is the memory that the last collection has found in use, with all that is no heap. The nearer the heap is to the limit, the more
// often it is collected.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	v := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	return v(0) + v(1) - v(2) - v(3) - v(4) - v(5)
}
