package main

import (
	"context"
	"slices"
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// keep is how many changes are kept if the fault is to drop older ones silently.
const keep = 1000

// Watch implements sdk.Watcher.
func (m *memory) Watch(ctx context.Context, r *pluginv1.WatchRequest, send func(*pluginv1.WatchResponse) error) error {
	after := r.GetAfterRevision()
	m.mu.Lock()
	switch {
	case is("meta-watches-from-now"):
		after = m.revision
	case is("meta-forgets-old-changes") && len(m.changes) > keep:
		after = max(after, m.changes[len(m.changes)-keep].Revision)
	case after < m.floor && is("meta-forgets-before-a-restart"):
		after = m.floor
	case after < m.floor, after > m.revision && !is("meta-waits-for-the-future"):
		m.mu.Unlock()
		return send(&pluginv1.WatchResponse{Compacted: true})
	}
	m.mu.Unlock()
	sent := 0
	for {
		events, upTo, wake := m.since(r, after)
		if is("meta-forgets-watch-events") {
			events = slices.DeleteFunc(events, func(*pluginv1.Event) bool {
				sent++
				return sent%5 == 0
			})
		}
		if len(events) > 0 {
			switch {
			case is("meta-watches-in-no-order"):
				slices.Reverse(events)
			case is("meta-ends-watches"):
				events = events[:1] // more are sure to follow
				upTo = events[0].GetEntry().GetRevision()
			}
			if err := m.send(&pluginv1.WatchResponse{Events: events, Revision: upTo}, send); err != nil {
				return err
			}
			if is("meta-ends-watches") {
				return nil
			}
		}
		if after = max(after, upTo); len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

func (m *memory) send(resp *pluginv1.WatchResponse, send func(*pluginv1.WatchResponse) error) error {
	if is("meta-waits-for-slow-watches") {
		m.sending.Lock()
		defer m.sending.Unlock()
	}
	return send(resp)
}

// since returns some of the changes after a revision, and the last revision that they cover.
func (m *memory) since(r *pluginv1.WatchRequest, after int64) (events []*pluginv1.Event, upTo int64, wake <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, _ := slices.BinarySearchFunc(m.changes, after+1, func(it *item, revision int64) int { return int(it.Revision - revision) })
	upTo = after
	size := 0
	for _, it := range m.changes[from:] {
		if size > 1<<20 {
			return events, upTo, m.wake
		}
		upTo = it.Revision
		if it.NS != r.GetNamespace() || !strings.HasPrefix(it.Key, r.GetPrefix()) {
			continue
		}
		kind := pluginv1.Event_TYPE_PUT
		if it.Gone {
			kind = pluginv1.Event_TYPE_DELETE
			if is("meta-tells-no-removals") {
				continue
			}
		}
		events = append(events, &pluginv1.Event{Type: kind, Entry: it.entry()})
		size += len(it.Value) + 100
	}
	return events, upTo, m.wake
}
