package mqttload

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Progress is the progress of a run.
type Progress struct {
	Elapsed time.Duration
	// Count is messages delivered or, in conn and sleep, connections made.
	Count int64
}

// run is one play of a scenario.
type run struct {
	ctx   context.Context //nolint:containedctx // ends with the play
	s     Scenario
	p     Plan
	t     *Target
	id    uint32    // distinguishes this run's messages and client ids from those of others
	began time.Time // before the first client connects

	// The measured time, relative to began. Messages sent within it count.
	from, to atomic.Int64

	published, acked, delivered atomic.Int64 // within the measured time; connections in conn and sleep
	sent, arrived               atomic.Int64 // in total: acknowledged messages (QoS 0: written), and received copies
	reordered                   atomic.Int64
	delivery, answer            histogram
	seconds                     float64
}

// Run plays a scenario. It returns an error if a client was refused, lost its connection, or waited half a minute for an answer. progress,
// which may be nil, is called about once a second.
func Run(ctx context.Context, s Scenario, p Plan, t *Target, progress func(Progress)) (*Result, error) {
	plan, err := s.fill(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{ctx: ctx, s: s, p: plan, t: t, id: rand.Uint32(), began: time.Now()}
	r.to.Store(int64(plan.Warmup + plan.Duration))
	if progress != nil {
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { r.report(progress, done) })
		defer func() { close(done); wg.Wait() }()
	}
	if err := s.play(r); err != nil {
		return nil, err
	}
	return r.result(), nil
}

func (r *run) report(progress func(Progress), done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			progress(Progress{Elapsed: time.Since(r.began), Count: r.arrived.Load()})
		}
	}
}

// since returns the time since the start of the run.
func (r *run) since() time.Duration { return time.Since(r.began) }

// measured reports whether a moment lies in the measured time.
func (r *run) measured(at time.Duration) bool {
	return int64(at) >= r.from.Load() && int64(at) < r.to.Load()
}

// schedule sets the measured time, starting with the warm-up now.
func (r *run) schedule() {
	from := r.since() + r.p.Warmup
	r.from.Store(int64(from))
	r.to.Store(int64(from + r.p.Duration))
	r.seconds = r.p.Duration.Seconds()
}

// crew runs clients concurrently until all have ended or one has failed.
type crew struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed error
	cancel context.CancelFunc
}

func newCrew(ctx context.Context) (*crew, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &crew{cancel: cancel}, ctx
}

// do runs f in a goroutine. The first error ends all of them.
func (c *crew) do(f func() error) {
	c.wg.Go(func() {
		if err := f(); err != nil {
			c.mu.Lock()
			if c.failed == nil {
				c.failed = err
			}
			c.mu.Unlock()
			c.cancel()
		}
	})
}

// wait waits for all and returns the first error.
func (c *crew) wait() error {
	c.wg.Wait()
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// connectAll connects clients, some at a time, and closes all of them if one cannot.
func (r *run) connectAll(n int, connect func(i int) (*client, error)) ([]*client, error) {
	clients := make([]*client, n)
	c, ctx := newCrew(r.ctx)
	limit := make(chan struct{}, 32)
	for i := range n {
		limit <- struct{}{}
		c.do(func() error {
			defer func() { <-limit }()
			if ctx.Err() != nil {
				return nil
			}
			var err error
			clients[i], err = connect(i)
			return err
		})
	}
	err := c.wait()
	if err == nil {
		err = r.ctx.Err()
	}
	if err != nil {
		dropAll(clients)
		return nil, err
	}
	return clients, nil
}

func dropAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.drop()
		}
	}
}

// errSilent means that an answer did not arrive.
var errSilent = errors.New("no answer for half a minute")

// histogram collects latencies of many clients. It is sharded to avoid lock contention.
type histogram struct {
	parts [histogramParts]struct {
		mu sync.Mutex
		h  *hdrhistogram.Histogram
	}
}

const histogramParts = 8

// Latencies are kept in microseconds, up to ten minutes, to three digits.
const (
	longestLatency = 10 * time.Minute
	latencyDigits  = 3
)

// record adds a latency of client i.
func (h *histogram) record(i int, d time.Duration) {
	p := &h.parts[i%histogramParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.h == nil {
		p.h = hdrhistogram.New(1, longestLatency.Microseconds(), latencyDigits)
	}
	_ = p.h.RecordValue(min(max(1, d.Microseconds()), longestLatency.Microseconds())) // in range
}

// sum returns the merged histogram; nil if it is empty.
func (h *histogram) sum() *hdrhistogram.Histogram {
	var all *hdrhistogram.Histogram
	for i := range h.parts {
		p := &h.parts[i]
		p.mu.Lock()
		if p.h != nil {
			if all == nil {
				all = hdrhistogram.New(1, longestLatency.Microseconds(), latencyDigits)
			}
			all.Merge(p.h)
		}
		p.mu.Unlock()
	}
	return all
}
