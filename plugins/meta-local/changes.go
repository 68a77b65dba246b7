package main

import (
	"context"
	"sort"
	"strings"
	"sync"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	maxChanges     = 16384
	maxChangeBytes = 16 << 20
	// progressEvery is the number of unrelated revisions after which a watch gets a progress message.
	progressEvery = 1000
)

// changes holds the last changes in memory. Each watch reads them at its own pace. A watch that falls too far behind, or starts at a
// revision from before the process started, gets "compacted".
type changes struct {
	mu    sync.Mutex
	last  int64 // revision of the last commit
	floor int64 // changes up to this revision are no longer known
	log   []*pluginv1.Event
	bytes int
	wake  chan struct{} // closed and replaced at each commit
}

func newChanges(revision int64) *changes {
	return &changes{last: revision, floor: revision, wake: make(chan struct{})}
}

func (c *changes) revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func size(ev *pluginv1.Event) int {
	return len(ev.GetEntry().GetValue()) + len(ev.GetEntry().GetKey()) + 200
}

// add appends the changes of a commit, in order of revision.
func (c *changes) add(revision int64, events []*pluginv1.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = revision
	for _, ev := range events {
		c.log = append(c.log, ev)
		c.bytes += size(ev)
	}
	drop := 0
	for drop < len(c.log) && (len(c.log)-drop > maxChanges || c.bytes > maxChangeBytes) {
		// Revisions are dropped as a whole; the changes of one revision are adjacent.
		r := c.log[drop].GetEntry().GetRevision()
		for drop < len(c.log) && c.log[drop].GetEntry().GetRevision() == r {
			c.bytes -= size(c.log[drop])
			drop++
		}
		c.floor = r
	}
	if drop > 0 {
		clear(c.log[:drop])
		c.log = c.log[drop:]
	}
	close(c.wake)
	c.wake = make(chan struct{})
}

// since returns the changes of a namespace after a revision, the last revision that they cover, and a channel that is closed at the next
// change.
func (c *changes) since(ns, prefix string, after int64) (events []*pluginv1.Event, upTo int64, compacted bool, wake <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if after < c.floor || after > c.last {
		return nil, c.last, true, c.wake
	}
	i := sort.Search(len(c.log), func(i int) bool { return c.log[i].GetEntry().GetRevision() > after })
	total := 0
	for ; i < len(c.log); i++ {
		e := c.log[i].GetEntry()
		if total > pageBytes && e.GetRevision() > upTo { // the rest follows in the next message; only whole revisions
			return events, upTo, false, c.wake
		}
		upTo = e.GetRevision()
		if e.GetNamespace() == ns && strings.HasPrefix(e.GetKey(), prefix) {
			events = append(events, c.log[i])
			total += size(c.log[i])
		}
	}
	return events, c.last, false, c.wake
}

// watch sends changes until ctx ends or the changes are no longer known.
func (c *changes) watch(ctx context.Context, ns, prefix string, after int64, send func(*pluginv1.WatchResponse) error) error {
	said := after
	for {
		events, upTo, compacted, wake := c.since(ns, prefix, after)
		if compacted {
			return send(&pluginv1.WatchResponse{Compacted: true, Revision: after})
		}
		if len(events) > 0 || upTo-said >= progressEvery {
			if err := send(&pluginv1.WatchResponse{Events: events, Revision: upTo}); err != nil {
				return err
			}
			said = upTo
		}
		if upTo > after {
			after = upTo
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}
