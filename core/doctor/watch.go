package doctor

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// How often a Watch repeats its checks.
const (
	// near is the interval of checks on this machine, and of those that ask other machines after they found something new.
	near = 30 * time.Second
	// far is the longest interval of checks that ask other machines: while they find nothing, and after they found the same for some time.
	far = 5 * time.Minute
	// quiet is how long a finding must have been away until it is logged again.
	quiet = time.Hour
)

// Watch repeats the checks beside a running gateway. It logs a finding when it appears, and knows what was found last.
type Watch struct {
	options func() Options
	log     *slog.Logger
	stop    context.CancelFunc
	done    chan struct{}

	areas []string // in the order of the findings
	mu    sync.Mutex
	found map[string][]Finding // by area
	told  map[string]time.Time // when a logged finding was there last, by key
}

// Start starts to repeat the checks, the first round at once. options returns what to check now; addresses are not tried, because the
// gateway has them.
func Start(options func() Options, log *slog.Logger) *Watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{options: options, log: log, stop: stop, done: make(chan struct{}),
		found: make(map[string][]Finding), told: make(map[string]time.Time)}
	o := w.present()
	var all sync.WaitGroup
	for _, c := range o.checks() {
		w.areas = append(w.areas, c.area)
		all.Go(func() { w.repeat(ctx, c) })
	}
	go func() { defer close(w.done); all.Wait() }()
	return w
}

// Stop ends the checks. A check that hangs on a disk is waited for until ctx ends.
func (w *Watch) Stop(ctx context.Context) {
	w.stop()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// Findings returns what is wrong by the last round of each check.
func (w *Watch) Findings() (out []Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, area := range w.areas {
		out = append(out, w.found[area]...)
	}
	return out
}

// present returns the options for the next round.
func (w *Watch) present() Options {
	o := w.options()
	o.Running = true
	o.complete()
	return o
}

// repeat runs a check until ctx ends.
func (w *Watch) repeat(ctx context.Context, c check) {
	wait := near
	var before []Finding
	for {
		o := w.present()
		found, _ := c.look(ctx, &o)
		if ctx.Err() != nil {
			return // the stop may be what the check found
		}
		w.keep(c.area, found)
		switch {
		case !c.afar:
		case len(found) == 0:
			wait = far
		case slices.EqualFunc(found, before, func(a, b Finding) bool { return a.key() == b.key() }):
			wait = min(2*wait, far)
		default:
			wait = near
		}
		before = found
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// keep records what a check found, and logs what is new.
func (w *Watch) keep(area string, found []Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found[area] = found
	now := time.Now()
	for key, last := range w.told {
		if now.Sub(last) > quiet {
			delete(w.told, key)
		}
	}
	for _, f := range found {
		_, known := w.told[f.key()]
		w.told[f.key()] = now
		switch {
		case known:
		case f.Level == Fault:
			w.log.Error("a check found a fault", "area", f.Area, "what", f.What, "remedy", f.Remedy)
		default:
			w.log.Warn("a check warns", "area", f.Area, "what", f.What, "remedy", f.Remedy)
		}
	}
}
