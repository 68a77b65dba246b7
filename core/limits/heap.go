package limits

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When garbage is collected, and when memory goes back to the system.
const (
	// headroom is how much garbage may accumulate before a collection, in bytes. With few connected clients the heap of a gateway is small,
	// and by Go's default the collector would run all the time. With many clients, the default would double their memory.
	headroom = 64 << 20
	// leastPercent and mostPercent bound headroom as a percentage of the live heap, because the cost of a collection is proportional to
	// that.
	leastPercent, mostPercent = 30, 250

	// quietFor is how long the process must allocate less than quietRate, in bytes per second, before unused memory goes back to the
	// system.
	quietFor  = 2 * time.Second
	quietRate = 1 << 20
	// leastFreed is how much must have been allocated since memory last went back, in bytes; it must also be at least one part in
	// leastFreedPart of the live heap.
	leastFreed     = 8 << 20
	leastFreedPart = 8
)

// Heap tunes the process's heap: it sets how much garbage may accumulate, depending on the live heap, and returns the memory left over from
// a burst to the system. Only one goroutine at a time may use it.
type Heap struct {
	percent int       // last value set; 0: none
	fixed   bool      // GOGC is set in the environment
	begun   time.Time // start of the present quiet time; zero before the first Tend
	allocs  uint64    // bytes allocated up to begun
	settled uint64    // bytes allocated when memory last went back
	samples []metrics.Sample
	set     func(percent int) int
	give    func()
	read    func([]metrics.Sample)
}

// NewHeap makes a Heap. If GOGC is set in the environment, it decides how much garbage may accumulate.
func NewHeap() *Heap {
	return &Heap{fixed: os.Getenv("GOGC") != "", set: debug.SetGCPercent, give: debug.FreeOSMemory, read: metrics.Read, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}}
}

// Run tunes the heap until ctx ends.
func (h *Heap) Run(ctx context.Context) {
	tick := time.NewTicker(LookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.Tend(now)
		}
	}
}

// Tend looks at the heap once.
func (h *Heap) Tend(now time.Time) {
	h.read(h.samples)
	v := func(i int) uint64 { return h.samples[i].Value.Uint64() }
	h.look(now, v(0), v(1))
}

// look takes the live heap as of the last collection, and the bytes allocated so far.
func (h *Heap) look(now time.Time, live, allocs uint64) {
	h.pace(live)
	if elapsed := now.Sub(h.begun); h.begun.IsZero() || float64(allocs-h.allocs) > max(elapsed, LookEvery).Seconds()*quietRate {
		h.begun, h.allocs = now, allocs
		return
	} else if elapsed < quietFor {
		return
	}
	h.begun, h.allocs = now, allocs
	if allocs-h.settled > max(leastFreed, live/leastFreedPart) { // else there is little to return
		h.give()
		h.settled = allocs
	}
}

// pace sets how much garbage may accumulate.
func (h *Heap) pace(live uint64) {
	if h.fixed {
		return
	}
	percent := mostPercent
	if live > 0 {
		percent = int(min(mostPercent, max(leastPercent, headroom*100/live)))
	}
	// Each change stops the process for a moment, so small changes are skipped.
	if difference := percent - h.percent; h.percent == 0 || difference*10 > h.percent || -difference*10 > h.percent {
		h.set(percent)
		h.percent = percent
	}
}
