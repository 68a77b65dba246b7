package plugintest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func (t *trial) totalLimits() {
	keys, total := t.traits().GetMaxKeys(), t.traits().GetMaxTotalBytes()
	const fillKeys, fillBytes = 1000, 8 << 20
	r, ns := t.plugin(), t.namespace("fill")
	var n, size int
	switch {
	case keys == 0 && total == 0:
		t.skip("Describe gives no such limits")
	case keys > 0 && keys <= fillKeys:
		n, size = int(keys)+1, 1
	case total > 0 && total <= fillBytes:
		size = t.roomFor(int(total) / 8)
		n = int(total)/size + 2
	default:
		t.skip("the limits are %d keys and %d bytes; the kit fills up to %d keys or %d bytes", keys, total, fillKeys, fillBytes)
	}
	last := ""
	for i := range n {
		last = fmt.Sprintf("fill-%04d", i)
		_, err := r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: last, Value: []byte(strings.Repeat("f", size))})
		if status.Code(err) == codes.ResourceExhausted {
			t.absent(r, ns, last, "though its Put was refused")
			if i == 0 {
				t.failf("the first entry of %d bytes is refused", size)
			}
			t.holds(r, ns, "fill-0000", strings.Repeat("f", size), 0)
			for j := range i {
				t.remove(r, ns, fmt.Sprintf("fill-%04d", j))
			}
			return
		}
		t.must(err)
	}
	t.failf("it took %d keys of %d bytes, and declares %d keys and %d bytes at the most", n, size, keys, total)
}

func (t *trial) expiry() {
	r, ns := t.plugin(), t.namespace("ttl")
	const ttl = 2 * time.Second
	late := t.patience.times(15 * time.Second)
	const clocks = 10 * time.Millisecond // by which the plugin's clock may differ from this one meanwhile
	put := func(key string, ttl time.Duration) time.Time {
		sent := time.Now()
		t.putWith(r, &pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte("v"), TtlMs: ttl.Milliseconds()})
		return sent
	}
	if !t.traits().GetTtl() {
		put("a", 500*time.Millisecond)
		t.sleep(1500 * time.Millisecond)
		if t.get(r, ns, "a") == nil {
			t.failf("the entry is gone, though ttl is not declared and ttl_ms to be ignored")
		}
		return
	}
	_, revision := t.list(r, ns, "", 0)
	var f *follower
	if t.traits().GetWatch() {
		f = t.follow(r, ns, "", revision)
	}
	const long = 24 * time.Hour
	put("long", long)
	sent := put("a", ttl)
	put("renewed", ttl)
	put("kept", ttl)
	t.put(r, ns, "kept", []byte("v"))
	t.put(r, ns, "plain", []byte("v"))
	t.sleep(ttl / 2)
	renewed := put("renewed", 3*ttl)
	for begin := time.Now(); ; t.sleep(50 * time.Millisecond) {
		gone := t.get(r, ns, "a") == nil
		now := time.Now()
		if gone && now.Before(sent.Add(ttl-clocks)) {
			t.failf("the entry is gone %v after it was put with a ttl of %v", now.Sub(sent).Round(time.Millisecond), ttl)
		}
		if t.get(r, ns, "renewed") == nil && time.Now().Before(renewed.Add(3*ttl-clocks)) {
			t.failf("the entry is gone %v after it was put again with a ttl of %v", time.Since(renewed).Round(time.Millisecond), 3*ttl)
		}
		if gone {
			break
		}
		if now.Sub(begin) > ttl+late {
			t.failf("the entry is still there %v after it was put with a ttl of %v", now.Sub(sent).Round(time.Millisecond), ttl)
		}
	}
	if entries, _ := t.list(r, ns, "a", 0); len(entries) > 0 {
		t.failf("List still has an entry that expired")
	}
	if t.get(r, ns, "long") == nil {
		t.failf("the entry is gone %v after it was put with a ttl of %v", time.Since(sent).Round(time.Millisecond), long)
	}
	t.remove(r, ns, "long")
	t.holds(r, ns, "kept", "v", 0)
	t.holds(r, ns, "plain", "v", 0)
	if f != nil {
		t.await(f, late, "the removal of \"a\", which expired", func(events []*pluginv1.Event) bool {
			return slices.ContainsFunc(events, func(e *pluginv1.Event) bool {
				return e.GetType() == pluginv1.Event_TYPE_DELETE && e.GetEntry().GetKey() == "a"
			})
		})
	}
	again := t.put(r, ns, "a", []byte("again"))
	t.holds(r, ns, "a", "again", again)
}

// sleep waits for d, or ends the case when the time of the case is over.
func (t *trial) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.must(t.ctx.Err())
	}
}

func (t *trial) writesAtOnce() {
	r, ns := t.plugin(), t.namespace("atonce")
	const writes = 200
	var mu sync.Mutex
	newest, newestValue := int64(0), ""
	t.must(parallel(writes, atOnce, func(i int) error {
		key, value := fmt.Sprintf("k%d", i), fmt.Sprintf("v%d", i)
		resp, err := r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte(value)})
		if err == nil && !resp.GetDone() {
			err = status.Error(codes.Unknown, "done is false for a Put without expectation")
		}
		if err != nil || i%4 != 0 {
			return err
		}
		resp, err = r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: "same", Value: []byte(value)})
		mu.Lock()
		defer mu.Unlock()
		if err == nil && resp.GetRevision() > newest {
			newest, newestValue = resp.GetRevision(), value
		}
		return err
	}))
	entries, _ := t.list(r, ns, "k", 0)
	want := map[string]string{}
	for i := range writes {
		want[fmt.Sprintf("k%d", i)] = fmt.Sprintf("v%d", i)
	}
	if wrong := same(entries, want); wrong != "" {
		t.failf("after %d writes, %d at once, that were all answered: %s", writes, atOnce, wrong)
	}
	if t.traits().GetCompareAndSet() {
		t.holds(r, ns, "same", newestValue, newest)
	}
}

// nodes returns plugin instances that write to the same data: two if the plugin declares that it is shared.
func (t *trial) nodes() []*running {
	lives := []*running{t.plugin()}
	if t.traits().GetShared() && !t.suite.describe.GetExclusive() {
		lives = append(lives, t.ready(t.site()))
	}
	return lives
}

func (t *trial) compareAndSet() {
	if !t.traits().GetCompareAndSet() {
		t.skip("Describe does not declare compare_and_set")
	}
	nodes, ns := t.nodes(), t.namespace("cas")
	const created, updates = 24, 96
	var mu sync.Mutex
	done := 0
	t.must(parallel(created, atOnce, func(i int) error {
		resp, err := nodes[i%len(nodes)].meta.Put(
			t.ctx,
			&pluginv1.PutRequest{Namespace: ns, Key: "once", Value: fmt.Appendf(nil, "%d", i), Expect: &pluginv1.Expect{}},
		)
		if err == nil && resp.GetDone() {
			mu.Lock()
			done++
			mu.Unlock()
		}
		return err
	}))
	if done != 1 {
		t.failAt(fmt.Sprintf("%d Puts of one key at once, each expecting that it is absent", created), fmt.Sprintf("%d of them done", done),
			"one of them must succeed, and %d did", done)
	}
	t.must(parallel(updates, atOnce, func(i int) error { return t.increment(nodes[i%len(nodes)], ns, "counter") }))
	if e := t.get(nodes[0], ns, "counter"); string(e.GetValue()) != strconv.Itoa(updates) {
		t.failf("%d updates by compare and set, %d at once, left the counter at %s", updates, atOnce, quote(string(e.GetValue())))
	}
}

// increment adds one to a counter, retrying on conflicts. It may be called in any goroutine.
func (t *trial) increment(r *running, ns, key string) error {
	for {
		have, err := r.meta.Get(t.ctx, &pluginv1.GetRequest{Namespace: ns, Key: key})
		if err != nil {
			return err
		}
		n := 0
		if have.GetFound() {
			if _, err := fmt.Sscan(string(have.GetEntry().GetValue()), &n); err != nil {
				return status.Errorf(codes.Unknown, "the counter reads %q", have.GetEntry().GetValue())
			}
		}
		resp, err := r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: key, Value: fmt.Appendf(nil, "%d", n+1),
			Expect: &pluginv1.Expect{Revision: have.GetEntry().GetRevision()}})
		if err != nil || resp.GetDone() {
			return err
		}
	}
}

func (t *trial) sharedData() {
	if !t.traits().GetShared() {
		t.skip("Describe does not declare shared")
	}
	if t.suite.describe.GetExclusive() {
		t.failf("Describe declares shared and exclusive; several nodes cannot share what one process holds")
	}
	nodes, ns := t.nodes(), t.namespace("shared")
	one, two := nodes[0], nodes[1]
	var f *follower
	if t.traits().GetWatch() {
		_, revision := t.list(two, ns, "", 0)
		f = t.follow(two, ns, "", revision)
	}
	limit := t.patience.times(5 * time.Second)
	t.put(one, ns, "a", []byte("1"))
	begin := time.Now()
	for t.get(two, ns, "a") == nil {
		if time.Since(begin) > limit {
			t.failf("what one node put is not there for another after %v", limit)
		}
		t.sleep(20 * time.Millisecond)
	}
	t.remove(two, ns, "a")
	for begin = time.Now(); t.get(one, ns, "a") != nil; t.sleep(20 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.failf("what another node removed is still there after %v", limit)
		}
	}
	if f != nil {
		t.await(f, t.patience.times(metaLimit), "what another node changed", func(events []*pluginv1.Event) bool { return len(events) >= 2 })
	}
}

func (t *trial) abandonedMeta() {
	r, ns := t.plugin(), t.namespace("abandoned")
	for chunk := range slices.Chunk(make([]int, 200), 100) {
		ops := make([]*pluginv1.Operation, len(chunk))
		for i := range ops {
			ops[i] = putOp(ns, fmt.Sprintf("k%d", i), []byte(strings.Repeat("v", 1000)))
		}
		t.batch(r, ops...)
	}
	_ = parallel(60, atOnce, func(i int) error {
		ctx, cancel := context.WithTimeout(t.ctx, time.Duration(i%6)*time.Millisecond)
		defer cancel()
		switch i % 3 {
		case 0:
			if stream, err := r.meta.List(ctx, &pluginv1.ListRequest{Namespace: ns, PageSize: 1}); err == nil {
				_, _ = stream.Recv()
			}
		case 1:
			_, _ = r.meta.Put(ctx, &pluginv1.PutRequest{Namespace: ns, Key: "given up", Value: []byte("x")})
		case 2:
			if stream, err := r.meta.Watch(ctx, &pluginv1.WatchRequest{Namespace: ns}); err == nil {
				_, _ = stream.Recv()
			}
		}
		return nil
	})
	t.holds(r, ns, "after", "1", t.put(r, ns, "after", []byte("1")))
	if entries, _ := t.list(r, ns, "k", 0); len(entries) != 100 {
		t.failf("List has %d entries, and 100 were put", len(entries))
	}
}

func (t *trial) durable() {
	r, ns := t.plugin(), t.namespace("durable")
	want := map[string]string{"a": "1", "batch": "2"}
	t.put(r, ns, "a", []byte("1"))
	t.put(r, ns, "gone", []byte("1"))
	t.remove(r, ns, "gone")
	last := t.batch(r, putOp(ns, "batch", []byte("2")))
	for i, kill := range []bool{false, true} {
		how := "it was stopped and started again"
		if kill {
			how = "it was killed and started again"
		}
		before, _ := t.list(r, ns, "", 0)
		r = t.restart(kill)
		entries, revision := t.list(r, ns, "", 0)
		if wrong := same(entries, want); wrong != "" {
			t.failf("after %s: %s", how, wrong)
		}
		for j, e := range entries {
			if e.GetRevision() != before[j].GetRevision() {
				t.failf("after %s the revision of %s is %d, and was %d", how, quote(e.GetKey()), e.GetRevision(), before[j].GetRevision())
			}
		}
		if revision < last && t.traits().GetCompareAndSet() {
			t.failf("after %s the revision of List is %d, and a change was answered with %d before", how, revision, last)
		}
		key := fmt.Sprintf("later-%d", i)
		want[key] = "3"
		next := t.put(r, ns, key, []byte("3"))
		if again := t.put(r, ns, "a", []byte("1")); next <= last && t.traits().GetCompareAndSet() || again <= entries[0].GetRevision() {
			t.failf(
				"after %s a change has the revision %d, and one before had %d",
				how,
				min(next, again),
				max(last, entries[0].GetRevision()),
			)
		} else {
			last = again
		}
	}
}
