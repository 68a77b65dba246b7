package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// follower reads a watch and checks the rules that apply to every watch. Its goroutine ends with the case.
type follower struct {
	asked  string
	cancel context.CancelFunc

	mu        sync.Mutex
	events    []*pluginv1.Event
	revision  int64 // all changes up to here have been streamed
	compacted bool
	ended     bool
	err       error // of a stream that ended; nil for a clean end
	wrong     string
	changed   chan struct{} // closed and replaced at each change
}

// follow opens a watch.
func (t *trial) follow(r *running, ns, prefix string, after int64) *follower {
	t.touched = r
	ctx, cancel := context.WithCancel(t.ctx)
	req := &pluginv1.WatchRequest{Namespace: ns, Prefix: prefix, AfterRevision: after}
	stream, err := r.meta.Watch(ctx, req)
	if err != nil {
		cancel()
		t.must(err)
	}
	f := &follower{asked: "Watch" + render(req), cancel: cancel, revision: after, changed: make(chan struct{})}
	go func() {
		defer cancel()
		for {
			resp, err := stream.Recv()
			if !f.take(req, resp, err) {
				return
			}
		}
	}()
	return f
}

// take adds a message of the stream; it returns false after the last one.
func (f *follower) take(req *pluginv1.WatchRequest, resp *pluginv1.WatchResponse, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		close(f.changed)
		f.changed = make(chan struct{})
	}()
	if err != nil {
		f.ended = true
		if !errors.Is(err, io.EOF) {
			f.err = err
		}
		return false
	}
	if f.compacted {
		f.fault("it goes on after a message that says compacted; such a stream ends")
	}
	if f.compacted = resp.GetCompacted(); f.compacted {
		return true
	}
	last := f.revision
	for _, e := range resp.GetEvents() {
		entry := e.GetEntry()
		switch {
		case e.GetType() != pluginv1.Event_TYPE_PUT && e.GetType() != pluginv1.Event_TYPE_DELETE:
			f.fault("an event has the type %v", e.GetType())
		case entry.GetNamespace() != req.GetNamespace() || !strings.HasPrefix(entry.GetKey(), req.GetPrefix()):
			f.fault("an event is about %s %s, which was not asked for", quote(entry.GetNamespace()), quote(entry.GetKey()))
		case entry.GetRevision() <= f.revision:
			f.fault(
				"an event has the revision %d, and all changes up to %d had been streamed or were not asked for",
				entry.GetRevision(),
				f.revision,
			)
		case entry.GetRevision() < last:
			f.fault("an event of revision %d comes after one of revision %d; they come in revision order", entry.GetRevision(), last)
		}
		last = max(last, entry.GetRevision())
		f.events = append(f.events, e)
	}
	switch {
	case resp.GetRevision() < last:
		f.fault("a message has the revision %d, and an event in it or a message before has %d", resp.GetRevision(), last)
	case resp.GetRevision() > f.revision:
		f.revision = resp.GetRevision()
	}
	return true
}

func (f *follower) fault(format string, args ...any) {
	if f.wrong == "" {
		f.wrong = fmt.Sprintf(format, args...)
	}
}

// await waits until done accepts the events, as long as a message arrives within each limit. Compaction is a fault here.
func (t *trial) await(f *follower, limit time.Duration, what string, done func([]*pluginv1.Event) bool) {
	if t.awaitOrCompacted(f, limit, what, done) {
		t.failAt(f.asked, "compacted: true", "it says that a few changes of a moment ago are no longer known")
	}
}

// awaitOrCompacted is await for a watch that may report compaction, and returns whether it did.
func (t *trial) awaitOrCompacted(f *follower, limit time.Duration, what string, done func([]*pluginv1.Event) bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		f.mu.Lock()
		events, wrong, compacted, ended, err, changed := f.events, f.wrong, f.compacted, f.ended, f.err, f.changed
		f.mu.Unlock()
		switch {
		case wrong != "":
			t.failAt(f.asked, eventsText(events), "%s", wrong)
		case compacted && ended && err != nil:
			t.failAt(f.asked, errText(err), "a stream that said compacted ends in order, and this one broke")
		case compacted && ended:
			return true
		case !compacted && done(events):
			return false
		case ended:
			t.failAt(
				f.asked,
				eventsText(events)+", then "+endText(err),
				"the stream ended by itself; it stays open until the caller ends it, and %s did not come",
				what,
			)
		}
		select {
		case <-changed:
			timer.Reset(limit)
		case <-timer.C:
			if compacted {
				t.failAt(f.asked, "compacted: true, and the stream stays open", "a stream that said compacted ends")
			}
			t.failAt(f.asked, eventsText(events), "%s did not come within %v", what, limit)
		case <-t.ctx.Done():
			t.must(t.ctx.Err())
		}
	}
}

func endText(err error) string {
	if err == nil {
		return "the end of the stream"
	}
	return errText(err)
}

// eventsText formats the last events for a report.
func eventsText(events []*pluginv1.Event) string {
	const most = 6
	var parts []string
	if n := len(events); n > most {
		parts = append(parts, fmt.Sprintf("%d events, the last are", n))
		events = events[n-most:]
	} else {
		parts = append(parts, fmt.Sprintf("%d events", n))
	}
	for _, e := range events {
		parts = append(parts, eventText(e))
	}
	return strings.Join(parts, " ")
}

func eventText(e *pluginv1.Event) string {
	kind := strings.ToLower(strings.TrimPrefix(e.GetType().String(), "TYPE_"))
	return fmt.Sprintf("[%s %s at %d]", kind, quote(e.GetEntry().GetKey()), e.GetEntry().GetRevision())
}
