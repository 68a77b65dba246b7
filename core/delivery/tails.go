package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// tailKey names one tail: of a first-level topic, or of a light message queue.
type tailKey struct {
	name  string
	queue bool
}

// tail is one running (or starting) tail, shared by sources. Guarded by Hub.mu.
type tail struct {
	refs  int
	ready chan struct{} // closed once the start has succeeded or failed
	err   error
	t     store.Tail
	timer *time.Timer
	// began and first (valid once the tail is ready) say where the tail began; parts say how far it has come.
	began time.Time
	first *marks
	parts parts
	// over is set when the tail is given up. By then another tail may bring the same records, so what this one still brings is dropped.
	over atomic.Bool
}

// wanted lists the tails that a source needs now.
func (h *Hub) wanted(s *source) ([]tailKey, error) {
	if s.filter == "" {
		if h.catalog.Compatible() {
			return []tailKey{{name: s.queue, queue: true}}, nil
		}
		return []tailKey{{name: topic.P2PBucket(s.client), queue: true}}, nil
	}
	if !topic.HasWildcardFirst(s.filter) {
		name, err := h.catalog.Resolve(topic.First(s.filter))
		if err != nil {
			return nil, err
		}
		return []tailKey{{name: name}}, nil
	}
	var keys []tailKey
	for _, first := range h.catalog.Topics() {
		if name, err := h.catalog.Resolve(first); err == nil && !slices.Contains(keys, tailKey{name: name}) {
			keys = append(keys, tailKey{name: name})
		}
	}
	return keys, nil
}

// ensure starts the tails that a source lacks, and waits until they run.
func (h *Hub) ensure(ctx context.Context, s *source) error {
	keys, err := h.wanted(s)
	if err != nil {
		return err
	}
	var waits []*tail
	h.mu.Lock()
	for _, k := range keys {
		t := h.tails[k]
		if t == nil {
			t = h.start(k)
		}
		if !slices.Contains(s.tails, k) {
			s.tails = append(s.tails, k)
			t.refs++
			if t.timer != nil {
				t.timer.Stop()
				t.timer = nil
			}
		}
		waits = append(waits, t)
	}
	h.mu.Unlock()
	for i, t := range waits {
		select {
		case <-t.ready:
			if t.err != nil {
				h.drop(s, keys[i], t)
				if s.root && neverThere(t.err) {
					h.leaveOut(keys[i].name, t.err)
					continue
				}
				return t.err
			}
			h.found(keys[i].name)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the tail of %q: %w", keys[i].name, ctx.Err())
		}
	}
	return nil
}

// neverThere reports whether an error means that the store does not have a topic, or that the topic cannot be read.
func neverThere(err error) bool {
	return errors.Is(err, store.ErrUnknownTopic) || errors.Is(err, store.ErrInvalidTopic)
}

// leaveOut records a listed topic that sources with a wildcard in the first level do without, and logs it once. The sweep looks for the
// topic again.
func (h *Hub) leaveOut(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leftOut[name] {
		return
	}
	if h.leftOut == nil {
		h.leftOut = make(map[string]bool)
	}
	h.leftOut[name] = true
	h.log.Warn("a listed first-level topic cannot be read; filters of every topic do without it. Take it off the list, or create it: lmqgate topic delete, lmqgate topic create",
		"topic", name, "error", err)
}

// found records that a topic exists.
func (h *Hub) found(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.leftOut, name)
}

// lookAgain starts the tails of topics that were left out and exist now.
func (h *Hub) lookAgain() {
	h.mu.Lock()
	some := len(h.leftOut) > 0
	h.mu.Unlock()
	if !some {
		return
	}
	listed := h.catalog.Topics()
	h.mu.Lock()
	for name := range h.leftOut {
		if !slices.Contains(listed, name) {
			delete(h.leftOut, name)
		}
	}
	h.mu.Unlock()
	if err := h.TopicsChanged(h.ctx); err != nil && h.ctx.Err() == nil {
		h.log.Debug("looking for topics again failed", "error", err)
	}
}

// drop forgets a tail that failed to start, so that the next source that needs it tries again.
func (h *Hub) drop(s *source, k tailKey, t *tail) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.tails = slices.DeleteFunc(s.tails, func(have tailKey) bool { return have == k })
	if h.tails[k] == t {
		delete(h.tails, k)
	}
}

// start starts a tail. Called with mu held.
func (h *Hub) start(k tailKey) *tail {
	t := &tail{ready: make(chan struct{}), began: time.Now()}
	h.tails[k] = t
	if h.closed {
		t.err = ErrClosed
		close(t.ready)
		return t
	}
	h.wg.Go(func() {
		defer close(t.ready)
		ctx, cancel := context.WithTimeout(h.ctx, startTimeout)
		defer cancel()
		open, route := h.store.Tail, h.route
		if k.queue {
			open, route = h.store.TailQueue, h.routeP2P
		}
		t.t, t.err = open(ctx, k.name, func(p store.Partition, recs []*store.Record) {
			if !t.over.Load() {
				route(k.name, t.parts.get(p), p, recs)
			}
		})
		if t.err == nil {
			t.begin()
			if !k.queue {
				h.lookBack(ctx, k.name, t)
			}
		}
	})
	return t
}

// startTimeout bounds how long a tail may take to find its start.
const startTimeout = 10 * time.Second

// unref drops one reference to a tail. The last one stops the tail after Options.Linger. Called with mu held.
func (h *Hub) unref(k tailKey) {
	t := h.tails[k]
	if t == nil {
		return
	}
	t.refs--
	if t.refs > 0 || h.closed {
		return
	}
	t.timer = time.AfterFunc(h.linger, func() {
		h.mu.Lock()
		if h.closed || t.refs > 0 || h.tails[k] != t {
			h.mu.Unlock()
			return
		}
		delete(h.tails, k)
		t.over.Store(true)
		h.wg.Add(1)
		h.mu.Unlock()
		defer h.wg.Done()
		<-t.ready
		if t.t != nil {
			t.t.Close()
		}
	})
}
