package meta

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// mirror keeps one namespace in memory. It tracks which revision of each key is held. The parsed values are held by the part that the
// mirror feeds. Meta owns its goroutine (run).
//
// Three sources feed it and may overtake each other: listings, watch events and this node's own writes. Revisions order them. A listing
// never undoes an own write that ended after the listing began.
type mirror struct {
	m         *Meta
	namespace string
	// apply applies a value, or its absence (nil). It is called with mu held, one call at a time.
	apply func(key string, e *pluginv1.Entry)
	// changed is called without locks after one or more calls of apply. It may be nil.
	changed func()
	// interval is how often this namespace is listed on a backend without Watch, even if no change was announced.
	interval time.Duration

	loaded atomic.Bool
	wake   chan struct{} // buffered; asks run for a new listing

	mu sync.Mutex
	// generation is the generation of the backend that the revisions come from.
	generation int64
	items      map[string]held
	// gone remembers removals, so that an older event or answer does not bring the key back.
	gone map[string]held
	// err is the error of the last listing; nil if it succeeded.
	err error
	// asOf is when the backend had what is held here.
	asOf time.Time
	// listings counts the listings begun; listed is the number of the last one that succeeded.
	listings, listed int
}

// held is what is known about a key.
type held struct {
	revision int64
	// own is when this node's last write of the key ended; zero: never.
	own time.Time
}

// goneFor is how long a removal is remembered. It exceeds the longest delay of an answer or event.
const goneFor = time.Minute

func newMirror(m *Meta, namespace string, interval time.Duration, apply func(string, *pluginv1.Entry), changed func()) *mirror {
	return &mirror{m: m, namespace: namespace, apply: apply, changed: changed, interval: interval,
		wake: make(chan struct{}, 1), generation: 1, items: map[string]held{}, gone: map[string]held{}}
}

// revision returns the held revision of a key; the zero value if the key is absent. A key held from before a migration and not read again
// since counts as absent.
func (r *mirror) revision(key string) stored {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.items[key]; have.revision != 0 {
		return stored{revision: have.revision, generation: r.generation}
	}
	return stored{}
}

// rebase makes everything held give way to what is read from another backend, where earlier revisions mean nothing.
func (r *mirror) rebase(generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation = generation
	for key := range r.items {
		r.items[key] = held{}
	}
	clear(r.gone)
}

// wrote applies one of this node's writes (e not nil) or removals.
func (r *mirror) wrote(key string, e *pluginv1.Entry, revision, generation int64) {
	r.mu.Lock()
	done := generation == r.generation && r.take(key, e, revision, time.Now())
	r.mu.Unlock()
	if done {
		r.notify()
	}
}

// learned applies an entry that was read individually.
func (r *mirror) learned(e *pluginv1.Entry, generation int64) {
	r.mu.Lock()
	// Like an own write, it outlives a listing that began before it.
	done := generation == r.generation && r.take(e.GetKey(), e, e.GetRevision(), time.Now())
	r.mu.Unlock()
	if done {
		r.notify()
	}
}

// take applies e at revision unless something later is held. Called with mu held.
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

// event applies a change reported by a watch of the given generation.
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

// listing is a snapshot that is being applied page by page.
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

// finish drops the keys that the listing did not contain.
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

// list applies a whole snapshot, and returns its revision and generation.
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
	case rebased(err): // the next listing follows at once
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
	r.knows(l.began)
	return revision, generation, nil
}

// knows records when the backend had what is held here.
func (r *mirror) knows(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asOf = at
}

// current records that the snapshot is known to be up to date.
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

// resync asks run for a new listing.
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
			case !r.loaded.Load(): // callers that wait for the first listing report it
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

// watch follows changes after revision until ctx ends or a new listing is needed. It resumes a broken stream at the last revision.
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

// follow reads one stream. It returns again = true if the stream broke and can be resumed, relist = true if it cannot.
func (r *mirror) follow(parent context.Context, revision *int64, generation int64) (again, relist bool) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	asked := make(chan struct{})
	stopped := make(chan struct{})
	go func() { // ends with this call: by cancel above, or by wake
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
		r.knows(time.Now())
	}
	cancel()
	<-stopped // otherwise a request that arrives now could be lost
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
