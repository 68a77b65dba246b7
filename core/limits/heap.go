package limits

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How often garbage is collected, and when memory goes back to the system.
const (
	// headroom is how much garbage may gather before it is collected, in bytes. The heap of a gateway is small where few clients are
	// connected, and with Go's default the collector would run all the time there; where many are, the default would double what they take.
	headroom = 64 << 20
	// leastPercent and mostPercent bound headroom, in percent of what is in use: a collection costs in proportion to that.
	leastPercent, mostPercent = 30, 250

	// quietFor is how long the process is to allocate less than quietRate, in bytes a second, before unused memory goes back.
	quietFor  = 2 * time.Second
	quietRate = 1 << 20
	// leastFreed is how much must have been allocated meanwhile, in bytes, and at least one part in leastFreedPart of what is in use.
	leastFreed     = 8 << 20
	leastFreedPart = 8
)

// Heap tends the process's heap: how much garbage may gather, by how much is in use, and that what a burst has left behind goes back to the
// system once it is over. One goroutine at a time may use it.
type Heap struct {
	percent int       // that was set last; 0: none
	fixed   bool      // whoever started the process has chosen it
	begun   time.Time // the quiet time that lasts; zero before the first Tend
	allocs  uint64    // when it began
	settled uint64    // what had been allocated when memory was given back last
	samples []metrics.Sample
	set     func(percent int) int
	give    func()
	read    func([]metrics.Sample)
}

// NewHeap makes a Heap. GOGC in the environment decides how much garbage may gather where it is set.
func NewHeap() *Heap {
	return &Heap{fixed: os.Getenv("GOGC") != "", set: debug.SetGCPercent, give: debug.FreeOSMemory, read: metrics.Read, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}}
}

// Run tends the heap until ctx ends.
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

// look acts on what the last collection found in use, and on what has been allocated so far, in bytes.
func (h *Heap) look(now time.Time, live, allocs uint64) {
	h.pace(live)
	if elapsed := now.Sub(h.begun); h.begun.IsZero() || float64(allocs-h.allocs) > max(elapsed, LookEvery).Seconds()*quietRate {
		h.begun, h.allocs = now, allocs
		return
	} else if elapsed < quietFor {
		return
	}
	h.begun, h.allocs = now, allocs
	if allocs-h.settled > max(leastFreed, live/leastFreedPart) { // else there is not much to find
		h.give()
		h.settled = allocs
	}
}

// pace sets how much garbage may gather.
func (h *Heap) pace(live uint64) {
	if h.fixed {
		return
	}
	percent := mostPercent
	if live > 0 {
		percent = int(min(mostPercent, max(leastPercent, headroom*100/live)))
	}
	// Each change stops the process for a moment.
	if difference := percent - h.percent; h.percent == 0 || difference*10 > h.percent || -difference*10 > h.percent {
		h.set(percent)
		h.percent = percent
	}
}
