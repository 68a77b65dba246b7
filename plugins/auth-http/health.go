package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// remember is how long a failed call makes the plugin unhealthy if no call follows.
const remember = 30 * time.Second

// health tracks whether the webhook works: by probing its health_url or, without one, by the outcome of calls.
type health struct {
	probed bool // health_url is set, and alone decides

	mu  sync.Mutex
	why error
	at  time.Time
}

// called records the outcome of a call.
func (h *health) called(err error) {
	if !h.probed {
		h.set(err)
	}
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.why, h.at = err, time.Now()
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why == nil || !h.probed && time.Since(h.at) > remember {
		return nil
	}
	return fmt.Errorf("the webhook: %w", h.why)
}

// probe requests target periodically until ctx ends.
func (w *webhook) probe(ctx context.Context, target string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		w.health.set(w.look(ctx, target))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *webhook) look(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	a, err := w.client.Do(ctx, http.MethodGet, target, w.header, nil)
	if err == nil && a.Status/100 != 2 {
		err = fmt.Errorf("health_url answers with the status %d", a.Status)
	}
	return err
}
