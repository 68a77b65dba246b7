package meta

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// mirror keeps one namespace in memory. It knows which revision of each key is held; the values are held, parsed, by the part
// that it feeds. Its goroutine (run) belongs to Meta.
//
// Three sources feed it and may overtake one another: listings, watch events and this node's own writes. Revisions order them;
// a listing never undoes an own write that ended after the listing began.
type mirror struct {
	m         *Meta
	namespace string
	// apply takes over a value, or its absence (nil). It is called under mu, with one call at a time.
	apply func(key string, e *pluginv1.Entry)
	// changed is called without locks after one or more calls of apply. May be nil.
	changed func()
	// interval is how often a backend without Watch is asked for this namespace even though nobody said that it changed.
	interval time.Duration

	loaded atomic.Bool
	wake   chan struct{} // buffered; asks run to list again

	mu sync.Mutex
	// generation is of the backend that the revisions are from.
	generation int64
	items      map[string]held
	// gone remembers removals, so that an event or an answer from before does not bring the key back.
	gone map[string]held
	// err is why the last listing failed; nil after one that did not.
	err error
	// listings counts those that have begun; listed is the number of the last that has ended well.
	listings, listed int
}

// held is what is known of a key.
type held struct {
	revision int64
	// own is when this node's last write of the key ended; zero if never.
	own time.Time
}

// How long a removal is remembered: longer than any answer or event can be late.
const goneFor = time.Minute

func newMirror(m *Meta, namespace string, interval time.Duration, apply func(string, *pluginv1.Entry), changed func()) *mirror {
	return &mirror{m: m, namespace: namespace, apply: apply, changed: changed, interval: interval,
		wake: make(chan struct{}, 1), generation: 1, items: map[string]held{}, gone: map[string]held{}}
}

// revision is the held revision of a key, the zero value if it is absent. What was held before a migration and not read again
// since counts as absent.
func (r *mirror) revision(key string) stored {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.items[key]; have.revision != 0 {
		return stored{revision: have.revision, generation: r.generation}
	}
	return stored{}
}

// rebase makes everything that is held yield to what is read from another backend: revisions from before mean nothing there.
func (r *mirror) rebase(generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation = generation
	for key := range r.items {
		r.items[key] = held{}
	}
	clear(r.gone)
}

// wrote takes over an own write (value not nil) or removal.
func (r *mirror) wrote(key string, e *pluginv1.Entry, revision, generation int64) {
	r.mu.Lock()
	done := generation == r.generation && r.take(key, e, revision, time.Now())
	r.mu.Unlock()
	if done {
		r.notify()
	}
}

// learned takes over an entry that was read by itself.
func (r *mirror) learned(e *pluginv1.Entry, generation int64) {
	r.mu.Lock()
	// As an own write it outlives a listing that began before it.
	done := generation == r.generation && r.take(e.GetKey(), e, e.GetRevision(), time.Now())
	r.mu.Unlock()
	if done {
		r.notify()
	}
}

// take applies e at revision unless something later is held. It is called under mu.
func (r *mirror) take(key string, e *pluginv1.Entry, revision int64, own time.Time) bool {
	have, known := r.items[key]
	if known && have.revision >= revision {
		if have.revision == revision && !own.IsZero() {
			have.own = own
			r.items[key] = have
		}
		return false
	}
	if g, ok := r.gone[key]; ok && g.revision >= revision {
		return false
	}
	if e == nil {
		r.gone[key] = held{revision, time.Now()}
		if !known {
			return false
		}
		delete(r.items, key)
	} else {
		delete(r.gone, key)
		r.items[key] = held{revision, own}
	}
	r.apply(key, e)
	return true
}

// event takes over a change that a watch of the generation told of.
func (r *mirror) event(ev *pluginv1.Event, generation int64) bool {
	e := ev.GetEntry()
	r.mu.Lock()
	defer r.mu.Unlock()
	if generation != r.generation {
		return false
	}
	if ev.GetType() == pluginv1.Event_TYPE_DELETE {
		return r.take(e.GetKey(), nil, e.GetRevision(), time.Time{})
	}
	return r.take(e.GetKey(), e, e.GetRevision(), time.Time{})
}

// listing is a snapshot that is being taken over, page by page.
type listing struct {
	r          *mirror
	generation int64
	began      time.Time
	seen       map[string]struct{}
	any        bool
}

func (l *listing) page(entries []*pluginv1.Entry) error {
	r := l.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.generation != r.generation {
		return errRebased
	}
	for _, e := range entries {
		key := e.GetKey()
		l.seen[key] = struct{}{}
		have, known := r.items[key]
		if known && (have.revision == e.GetRevision() || have.own.After(l.began)) {
			continue
		}
		if g, ok := r.gone[key]; ok && (g.own.After(l.began) || g.revision >= e.GetRevision()) {
			continue
		}
		delete(r.gone, key)
		r.items[key] = held{revision: e.GetRevision()}
		r.apply(key, e)
		l.any = true
	}
	return nil
}

// finish drops what the listing did not hold.
func (l *listing) finish() error {
	r := l.r
	r.mu.Lock()
	if l.generation != r.generation {
		r.mu.Unlock()
		return errRebased
	}
	for key, have := range r.items {
		if _, ok := l.seen[key]; ok || have.own.After(l.began) {
			continue
		}
		delete(r.items, key)
		r.apply(key, nil)
		l.any = true
	}
	for key, g := range r.gone {
		if time.Since(g.own) > goneFor {
			delete(r.gone, key)
		}
	}
	keys := len(r.items)
	r.mu.Unlock()
	r.m.metrics.keys.WithLabelValues(r.namespace).Set(float64(keys))
	if l.any {
		r.notify()
	}
	return nil
}

// list takes over a whole snapshot and returns its revision, and the generation that it is from.
func (r *mirror) list(ctx context.Context) (revision, generation int64, err error) {
	r.mu.Lock()
	generation = r.generation
	r.listings++
	number := r.listings
	r.mu.Unlock()
	l := &listing{r: r, generation: generation, began: time.Now(), seen: map[string]struct{}{}}
	revision, err = r.m.backend.list(ctx, r.namespace, "", l.page)
	if err == nil {
		err = l.finish()
	}
	r.mu.Lock()
	switch {
	case rebased(err): // the next listing comes at once
		r.err = nil
	case err == nil:
		r.err, r.listed = nil, number
	default:
		r.err = err
	}
	r.mu.Unlock()
	if err != nil {
		return 0, 0, err
	}
	r.m.metrics.resyncs.WithLabelValues(r.namespace).Inc()
	r.current()
	return revision, generation, nil
}

// current notes that the snapshot is known to be up to date.
func (r *mirror) current() {
	if !r.loaded.Swap(true) {
		r.m.log.Debug("metadata loaded", "namespace", r.namespace)
	}
	r.m.metrics.synced.WithLabelValues(r.namespace).SetToCurrentTime()
}

func (r *mirror) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *mirror) notify() {
	if r.changed != nil {
		r.changed()
	}
}

// resync asks run to list again.
func (r *mirror) resync() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run keeps the mirror up to date until ctx ends.
func (r *mirror) run(ctx context.Context) {
	tries, failing := 0, false
	for ctx.Err() == nil {
		revision, generation, err := r.list(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if rebased(err) {
				continue
			}
			switch {
			case !r.loaded.Load(): // who waits for the first listing says so
				r.m.log.Debug("metadata cannot be read yet", "namespace", r.namespace, "error", err)
			case !failing:
				failing = true
				r.m.log.Warn("metadata cannot be read; the last snapshot goes on serving", "namespace", r.namespace, "error", err)
			}
			_ = pause(ctx, tries)
			tries++
			continue
		}
		if failing {
			failing = false
			r.m.log.Info("metadata can be read again", "namespace", r.namespace)
		}
		tries = 0
		if r.m.traits().GetWatch() {
			r.watch(ctx, revision, generation)
			continue
		}
		t := time.NewTimer(r.interval)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// watch follows changes after revision until ctx ends or a listing is needed. A stream that breaks is resumed from the last
// revision.
func (r *mirror) watch(ctx context.Context, revision, generation int64) {
	failures := 0
	for ctx.Err() == nil && r.m.traits().GetWatch() {
		before := revision
		again, relist := r.follow(ctx, &revision, generation)
		switch {
		case relist:
			_ = pause(ctx, 0)
			return
		case !again:
			return
		}
		if revision > before {
			failures = 0
		}
		_ = pause(ctx, failures)
		if failures++; failures > len(backoff) {
			return
		}
	}
}

// follow reads one stream. It returns again = true where the stream broke and can be resumed, relist = true where it cannot.
func (r *mirror) follow(parent context.Context, revision *int64, generation int64) (again, relist bool) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	asked := make(chan struct{})
	stopped := make(chan struct{})
	go func() { // ends with this call: cancel above, or wake
		defer close(stopped)
		select {
		case <-r.wake:
			close(asked)
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-stopped }()
	stream, err := r.m.backend.client().Watch(ctx, &pluginv1.WatchRequest{Namespace: r.namespace, AfterRevision: *revision})
	for err == nil {
		var resp *pluginv1.WatchResponse
		if resp, err = stream.Recv(); err != nil {
			break
		}
		any := false
		for _, ev := range resp.GetEvents() {
			any = r.event(ev, generation) || any
			*revision = max(*revision, ev.GetEntry().GetRevision())
		}
		*revision = max(*revision, resp.GetRevision())
		if any {
			r.mu.Lock()
			keys := len(r.items)
			r.mu.Unlock()
			r.m.metrics.keys.WithLabelValues(r.namespace).Set(float64(keys))
			r.notify()
		}
		if resp.GetCompacted() {
			return false, true
		}
		r.current()
	}
	select {
	case <-asked:
		return false, false
	default:
	}
	if parent.Err() != nil {
		return false, false
	}
	r.m.metrics.errors.WithLabelValues("watch").Inc()
	return true, false
}
