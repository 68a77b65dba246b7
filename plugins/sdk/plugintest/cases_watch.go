package plugintest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func watchCases() []check {
	const proto, section = "meta.proto, Meta.Watch", "watch"
	return []check{
		{name: "watches if it declares watch", run: (*trial).watchDeclared, rule: rule{
			text:    "Watch is UNIMPLEMENTED where MetaTraits.watch is false, and stays open where it is true",
			proto:   proto,
			section: section,
		}},
		{name: "tells a watch of every change, in order", run: (*trial).watchOrder, rule: rule{
			text:    "Watch streams the changes of a namespace that are later than a revision, in revision order, with namespace, key, value and the revision that their writer was answered",
			proto:   proto,
			section: section,
		}},
		{name: "tells a watch of what came between the listing and the watch", run: (*trial).watchCatchesUp, rule: rule{
			text: "A Watch from the revision of a List misses nothing", proto: "meta.proto, Meta.List and Meta.Watch", section: section}},
		{name: "lists and watches to the same end while others write", run: (*trial).watchWhileWriting, limit: longLimit, rule: rule{
			text:    "A List and a Watch from its revision bring the same entries as a later List, whatever is written meanwhile",
			proto:   "meta.proto, Meta.List and Meta.Watch",
			section: section,
		}},
		{name: "serves several watches, each its own", run: (*trial).severalWatches, rule: rule{
			text:    "Each watch gets the changes of its namespace and prefix; one that ends disturbs no other",
			proto:   proto,
			section: section,
		}},
		{name: "keeps a quiet watch open", run: (*trial).quietWatch, rule: rule{
			text: "The stream stays open while nothing changes, and goes on when something does", proto: proto, section: section}},
		{name: "goes on while a watch does not read", run: (*trial).slowWatch, limit: longLimit, rule: rule{
			text:    "A reader that is slow holds up no writer and no other reader; what it missed is streamed, or it is told compacted",
			proto:   proto,
			section: section,
		}},
		{name: "says compacted to a revision that it never had", run: (*trial).revisionOfAnother, rule: rule{
			text:    "A watch from a revision that is later than all is one from before a backup was restored, or from another database: compacted is true and the stream ends",
			proto:   "meta.proto, WatchResponse.compacted",
			section: section,
		}},
		{name: "streams what is old, or says compacted", run: (*trial).oldRevision, limit: longLimit, rule: rule{
			text:    "Where changes after after_revision are no longer known, compacted is true and the stream ends; nothing is left out silently, over a restart neither",
			proto:   "meta.proto, WatchResponse.compacted",
			section: section,
		}},
	}
}

// watched skips the case if the plugin has no watch.
func (t *trial) watched() {
	if !t.traits().GetWatch() {
		t.skip("Describe does not declare watch")
	}
}

func (t *trial) watchDeclared() {
	r, ns := t.plugin(), t.namespace("watch")
	_, revision := t.list(r, ns, "", 0)
	if t.traits().GetWatch() {
		f := t.follow(r, ns, "", revision)
		t.put(r, ns, "a", nil)
		t.await(f, t.patience.times(metaLimit), "a change", func(events []*pluginv1.Event) bool { return len(events) > 0 })
		return
	}
	stream, err := r.meta.Watch(t.ctx, &pluginv1.WatchRequest{Namespace: ns, AfterRevision: revision})
	t.must(err)
	ended := make(chan error, 1)
	go func() { _, err := stream.Recv(); ended <- err }()
	select {
	case err := <-ended:
		if status.Code(err) != codes.Unimplemented {
			if errors.Is(err, io.EOF) {
				err = errors.New("the end of the stream")
			}
			t.failAt("Watch", errText(err), "Describe does not declare watch; the answer must be UNIMPLEMENTED")
		}
	case <-time.After(t.patience.times(metaLimit)):
		t.failAt("Watch", "a stream that stays open", "Describe does not declare watch; the answer must be UNIMPLEMENTED")
	}
}

// step is one change that a watch must report.
type step struct {
	remove     bool
	key, value string
	revision   int64
}

func (s step) matches(e *pluginv1.Event) bool {
	want := pluginv1.Event_TYPE_PUT
	if s.remove {
		want = pluginv1.Event_TYPE_DELETE
	}
	return e.GetType() == want && e.GetEntry().GetKey() == s.key && e.GetEntry().GetRevision() == s.revision &&
		(s.remove || string(e.GetEntry().GetValue()) == s.value)
}

func (s step) String() string {
	if s.remove {
		return fmt.Sprintf("[delete %s at %d]", quote(s.key), s.revision)
	}
	value := quote(s.value)
	if len(s.value) > 40 {
		value = fmt.Sprintf("<%d bytes>", len(s.value))
	}
	return fmt.Sprintf("[put %s = %s at %d]", quote(s.key), value, s.revision)
}

// story changes a namespace in every way, and returns what a watch must report.
func (t *trial) story(r *running, ns string) []step {
	var steps []step
	put := func(key, value string) {
		steps = append(steps, step{key: key, value: value, revision: t.put(r, ns, key, []byte(value))})
	}
	remove := func(key string) {
		steps = append(steps, step{remove: true, key: key, revision: t.remove(r, ns, key)})
	}
	put("a", "1")
	put("b", "1")
	put("a", "2")
	put("empty", "")
	remove("b")
	t.remove(r, ns, "never") // changes nothing, so there is nothing to report
	put("b", "2")
	if _, err := r.meta.Put(
		t.ctx,
		&pluginv1.PutRequest{Namespace: ns, Key: "a", Value: []byte("no"), Expect: &pluginv1.Expect{}},
	); err != nil {
		t.must(err)
	}
	t.put(r, t.namespace("elsewhere"), "a", []byte("elsewhere"))
	revision := t.batch(r, putOp(ns, "c", []byte("1")))
	steps = append(steps, step{key: "c", value: "1", revision: revision})
	revision = t.batch(r, removeOp(ns, "a"))
	steps = append(steps, step{remove: true, key: "a", revision: revision})
	put("large", strings.Repeat("w", t.roomFor(200<<10)))
	put("last", "1")
	return steps
}

// tells waits until a watch has reported a story.
func (t *trial) tells(f *follower, steps []step) {
	t.await(f, t.patience.times(metaLimit), fmt.Sprintf("the last of %d changes", len(steps)), func(events []*pluginv1.Event) bool {
		for i, e := range events {
			if i >= len(steps) {
				t.failAt(f.asked, eventsText(events[:i+1]), "it tells of %s, and there were only %d changes", eventText(e), len(steps))
			}
			if !steps[i].matches(e) {
				t.failAt(f.asked, eventsText(events[:i+1]), "change %d was %s, and it tells of %s", i+1, steps[i], eventText(e))
			}
		}
		return len(events) == len(steps)
	})
}

func (t *trial) watchOrder() {
	t.watched()
	r, ns := t.plugin(), t.namespace("order")
	t.put(r, ns, "before", []byte("1"))
	_, revision := t.list(r, ns, "", 0)
	f := t.follow(r, ns, "", revision)
	t.tells(f, t.story(r, ns))
	f.cancel()
}

func (t *trial) watchCatchesUp() {
	t.watched()
	r, ns := t.plugin(), t.namespace("catchup")
	t.put(r, ns, "before", []byte("1"))
	_, revision := t.list(r, ns, "", 0)
	steps := t.story(r, ns)
	t.tells(t.follow(r, ns, "", revision), steps)
	// A watch from the middle reports only the rest.
	middle := len(steps) / 2
	t.tells(t.follow(r, ns, "", steps[middle].revision), steps[middle+1:])
	_, revision = t.list(r, ns, "", 0)
	f := t.follow(r, ns, "", revision)
	t.tells(f, []step{{key: "later", value: "1", revision: t.put(r, ns, "later", []byte("1"))}})
}

func (t *trial) watchWhileWriting() {
	t.watched()
	r, ns := t.plugin(), t.namespace("writing")
	const writes, keys = 400, 40
	writing := make(chan error, 1)
	go func() {
		writing <- parallel(writes, atOnce, func(i int) error {
			key := fmt.Sprintf("k%d", (i*i)%keys)
			if i%5 == 4 {
				_, err := r.meta.Delete(t.ctx, &pluginv1.DeleteRequest{Namespace: ns, Key: key})
				return err
			}
			_, err := r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: key, Value: fmt.Appendf(nil, "%d", i)})
			return err
		})
	}()
	// Several listings at different moments, each with its watch.
	type view struct {
		entries []*pluginv1.Entry
		f       *follower
	}
	var views []view
	for range 5 {
		entries, revision := t.list(r, ns, "", 5)
		views = append(views, view{entries, t.follow(r, ns, "", revision)})
		t.sleep(5 * time.Millisecond)
	}
	t.must(<-writing)
	end := t.put(r, ns, "end", nil)
	final, _ := t.list(r, ns, "", 0)
	want := map[string]string{}
	for _, e := range final {
		want[e.GetKey()] = fmt.Sprintf("%s at %d", e.GetValue(), e.GetRevision())
	}
	for i, v := range views {
		var all []*pluginv1.Event
		t.await(v.f, t.patience.times(metaLimit), "the change that was made last", func(events []*pluginv1.Event) bool {
			all = events
			return len(events) > 0 && events[len(events)-1].GetEntry().GetRevision() >= end
		})
		if wrong := same(replay(v.entries, all), want); wrong != "" {
			t.failAt(v.f.asked, eventsText(all), "listing %d and the events after it do not end where a new listing is: %s", i+1, wrong)
		}
	}
}

// replay applies events to a listing as the gateway does: the later revision wins. Values carry the revision.
func replay(entries []*pluginv1.Entry, events []*pluginv1.Event) []*pluginv1.Entry {
	state := map[string]*pluginv1.Entry{}
	for _, e := range entries {
		state[e.GetKey()] = e
	}
	gone := map[string]int64{}
	for _, ev := range events {
		e := ev.GetEntry()
		if have := state[e.GetKey()]; have.GetRevision() >= e.GetRevision() || gone[e.GetKey()] >= e.GetRevision() {
			continue
		}
		if ev.GetType() == pluginv1.Event_TYPE_DELETE {
			delete(state, e.GetKey())
			gone[e.GetKey()] = e.GetRevision()
		} else {
			state[e.GetKey()] = e
		}
	}
	var out []*pluginv1.Entry
	for key, e := range state {
		out = append(out, &pluginv1.Entry{Key: key, Value: fmt.Appendf(nil, "%s at %d", e.GetValue(), e.GetRevision())})
	}
	return out
}

func (t *trial) severalWatches() {
	t.watched()
	r, ns := t.plugin(), t.namespace("several")
	_, revision := t.list(r, ns, "", 0)
	whole, other, given := t.follow(r, ns, "", revision), t.follow(r, ns, "", revision), t.follow(r, ns, "", revision)
	some := t.follow(r, ns, "x/", revision)
	var all, below []step
	for i := range 20 {
		key := fmt.Sprintf("%s/%d", []string{"x", "y", "xx"}[i%3], i)
		s := step{key: key, value: "v", revision: t.put(r, ns, key, []byte("v"))}
		all = append(all, s)
		if strings.HasPrefix(key, "x/") {
			below = append(below, s)
		}
		if i == 10 {
			given.cancel()
		}
	}
	t.tells(whole, all)
	t.tells(other, all)
	t.tells(some, below)
}

func (t *trial) quietWatch() {
	t.watched()
	r, ns := t.plugin(), t.namespace("quiet")
	_, revision := t.list(r, ns, "", 0)
	f := t.follow(r, ns, "", revision)
	t.sleep(2 * openFor)
	t.tells(f, []step{{key: "a", value: "1", revision: t.put(r, ns, "a", []byte("1"))}})
}

func (t *trial) slowWatch() {
	t.watched()
	r, ns := t.plugin(), t.namespace("slow")
	_, revision := t.list(r, ns, "", 0)
	req := &pluginv1.WatchRequest{Namespace: ns, AfterRevision: revision}
	stream, err := r.meta.Watch(t.ctx, req)
	t.must(err)
	quick := t.follow(r, ns, "", revision)
	// Far more than the buffers of a connection hold.
	const changes = 300
	value := []byte(strings.Repeat("s", t.roomFor(64<<10)))
	if limit := t.traits().GetMaxTotalBytes(); limit > 0 && limit < 4<<20 {
		value = value[:1024]
	}
	var steps []step
	for i := range changes {
		key := fmt.Sprintf("k%d", i%20)
		steps = append(steps, step{key: key, value: string(value), revision: t.put(r, ns, key, value)})
	}
	t.tells(quick, steps)
	slow := &follower{asked: "Watch" + render(req) + ", read late", revision: revision, changed: make(chan struct{}), cancel: func() {}}
	go func() {
		for {
			resp, err := stream.Recv()
			if !slow.take(req, resp, err) {
				return
			}
		}
	}()
	told, limit := 0, t.patience.times(metaLimit)
	t.awaitOrCompacted(slow, limit, fmt.Sprintf("the last of %d changes", changes), func(events []*pluginv1.Event) bool {
		for ; told < len(events); told++ {
			if told >= changes || !steps[told].matches(events[told]) {
				t.failAt(
					slow.asked,
					eventsText(events[:told+1]),
					"change %d was %s, and it tells of %s",
					told+1,
					steps[min(told, changes-1)],
					eventText(events[told]),
				)
			}
		}
		return told == changes
	})
}

func (t *trial) revisionOfAnother() {
	t.watched()
	r, ns := t.plugin(), t.namespace("another")
	f := t.follow(r, ns, "", t.put(r, ns, "a", nil)+1<<40)
	if !t.awaitOrCompacted(f, t.patience.times(metaLimit), "a word of compaction", func([]*pluginv1.Event) bool { return false }) {
		t.failAt(f.asked, "no compaction", "it waits for revisions that it may come to only after many changes that the watch then misses")
	}
}

func (t *trial) oldRevision() {
	t.watched()
	r, ns := t.plugin(), t.namespace("old")
	first := t.put(r, ns, "first", []byte("1"))
	steps := t.story(r, ns)
	look := func(when string, want int, exact []step) {
		f := t.follow(r, ns, "", first)
		var all []*pluginv1.Event
		if t.awaitOrCompacted(
			f,
			t.patience.times(metaLimit),
			fmt.Sprintf("the last of %d changes that are older %s", want, when),
			func(events []*pluginv1.Event) bool {
				all = events
				for i := range min(len(events), len(exact)) {
					if !exact[i].matches(events[i]) {
						t.failAt(
							f.asked,
							eventsText(events[:i+1]),
							"%s, change %d after the revision was %s, and it tells of %s without a word of compaction",
							when,
							i+1,
							exact[i],
							eventText(events[i]),
						)
					}
				}
				return len(events) >= want
			},
		) {
			return
		}
		if len(all) != want {
			t.failAt(f.asked, eventsText(all), "%s, there were %d changes after the revision, and it tells of %d", when, want, len(all))
		}
	}
	r = t.restart(false)
	look("after a restart", len(steps), steps)
	r = t.restart(true)
	look("after a kill", len(steps), steps)

	// As many changes as time allows, so that a backend with a bounded history forgets the first ones.
	ops := make([]*pluginv1.Operation, batchOperations-1)
	for i := range ops {
		ops[i] = putOp(ns, fmt.Sprintf("many/%d", i), []byte("m"))
	}
	total := len(steps)
	const most, spend = 20000, 15 * time.Second
	for begin := time.Now(); total < most && time.Since(begin) < spend; {
		t.batch(r, ops...)
		total += len(ops)
	}
	look(fmt.Sprintf("after %d further changes", total-len(steps)), total, steps)
}
