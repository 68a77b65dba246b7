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

// SetMemory sets the soft limit of the process's memory, in bytes, and returns it. GOMEMLIMIT takes precedence; math.MaxInt64 means no
// limit (GOMEMLIMIT=off). asked is the configured limit; 0: half of the memory of the control group or the machine.
func SetMemory(asked int64) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return debug.SetMemoryLimit(-1) // the runtime has applied it
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

// Available returns the memory limit of the control group or, if there is none, the memory of the machine, in bytes; 0 if unknown.
func Available() int64 {
	least := int64(0)
	for _, n := range []int64{machine("/proc/meminfo"), group("/proc/self/cgroup", "/sys/fs/cgroup")} {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// machine reads the size of the machine's memory from a file in the format of /proc/meminfo.
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

// group returns the lowest limit of the process's control groups, of version 2 or 1; 0 if there is none.
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
		// The limits of parent groups apply as well. In a container the path may be the host's, so the root is always read.
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
	if err != nil || n >= math.MaxInt64/2 { // "max", or the huge number that version 1 has instead
		return 0
	}
	return n
}

// Watermark reports when the process is short of memory: the memory in use, not counting garbage, exceeds 85% of the limit. The shortage
// ends at 75% (hysteresis).
type Watermark struct {
	limit atomic.Int64
	inUse func() int64
	high  atomic.Bool
}

// NewWatermark makes a Watermark for a limit returned by SetMemory.
func NewWatermark(limit int64) *Watermark {
	w := &Watermark{inUse: inUse}
	w.limit.Store(limit)
	return w
}

// SetLimit changes the limit. The next Look uses it.
func (w *Watermark) SetLimit(limit int64) { w.limit.Store(limit) }

// High reports whether the process was short of memory at the last Look. It is false for a nil Watermark.
func (w *Watermark) High() bool { return w != nil && w.high.Load() }

// Limit returns the limit, in bytes.
func (w *Watermark) Limit() int64 { return w.limit.Load() }

// Look measures. It returns the bytes in use, and whether the result of High has changed.
func (w *Watermark) Look() (used int64, changed bool) {
	limit := w.limit.Load()
	if limit == math.MaxInt64 {
		return 0, w.high.Swap(false)
	}
	used = w.inUse()
	high := used > limit/100*85 || w.high.Load() && used > limit/100*75
	return used, w.high.Swap(high) != high
}

// LookEvery is the interval between calls of Look.
const LookEvery = 100 * time.Millisecond

// inUse returns the live memory as of the last collection, plus everything that is not heap, in bytes. The nearer the heap is to the limit,
// the more often it is collected.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	v := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	return v(0) + v(1) - v(2) - v(3) - v(4) - v(5)
}
