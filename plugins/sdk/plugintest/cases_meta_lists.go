package plugintest

import (
	"fmt"
	"slices"
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func (t *trial) listsInOrder() {
	r, ns := t.plugin(), t.namespace("list")
	if entries, _ := t.list(r, ns, "", 0); len(entries) > 0 {
		t.failf("List of a namespace that nothing was put into has %d entries", len(entries))
	}
	want := map[string]string{}
	add := func(keys ...string) {
		var ops []*pluginv1.Operation
		for _, key := range keys {
			want[key] = "value of " + key
			ops = append(ops, putOp(ns, key, []byte(want[key])))
		}
		t.batch(r, ops...)
	}
	add("b", "a", "B", "a/b", "a-b", "a.b", "ab", "a b", "ü", "z", "é", "日", "0", "10", "2", "")
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("many/%03d", (i*7)%300))
	}
	for chunk := range slices.Chunk(many, batchOperations-1) {
		add(chunk...)
	}
	for _, page := range []uint32{0, 1, 7, 100, 100000} {
		prefixes := []string{"", "a", "a/", "many/", "many/29", "none"}
		if page == 1 {
			prefixes = []string{"a", "many/2"}
		}
		for _, prefix := range prefixes {
			some := map[string]string{}
			for key, value := range want {
				if strings.HasPrefix(key, prefix) {
					some[key] = value
				}
			}
			entries, _ := t.list(r, ns, prefix, page)
			if wrong := same(entries, some); wrong != "" {
				t.failf("with the prefix %s and page_size %d: %s", quote(prefix), page, wrong)
			}
		}
	}
}

func (t *trial) listsMuch() {
	const each, total = 1 << 20, 20 << 20
	size := t.roomFor(each)
	n := total/size + 1
	if limit := t.traits().GetMaxTotalBytes(); limit > 0 && limit < total+total/2 {
		t.skip("Describe gives a limit of %d bytes in all, which is little more than fits in one message", limit)
	}
	if limit := t.traits().GetMaxKeys(); n > 500 || limit > 0 && uint64(n) > limit {
		t.skip("more than fits in one message would take %d keys", n)
	}
	r, ns := t.plugin(), t.namespace("much")
	for i := range n {
		t.put(r, ns, fmt.Sprintf("%04d", i), []byte(strings.Repeat("m", size)))
	}
	for _, page := range []uint32{0, 10000} {
		entries, _ := t.list(r, ns, "", page)
		if len(entries) != n {
			t.failf("List has %d entries, and %d were put", len(entries), n)
		}
		for _, e := range entries {
			if len(e.GetValue()) != size {
				t.failf("List has a value of %d bytes, and %d were put", len(e.GetValue()), size)
			}
		}
	}
	for i := range n {
		t.remove(r, ns, fmt.Sprintf("%04d", i))
	}
}

func (t *trial) batchInOrder() {
	r, ns := t.plugin(), t.namespace("batch")
	t.put(r, ns, "old", []byte("old"))
	t.batch(r)
	revision := t.batch(r,
		putOp(ns, "a", []byte("1")), removeOp(ns, "old"), putOp(ns, "b", []byte("1")), putOp(ns, "a", []byte("2")),
		removeOp(ns, "b"), removeOp(ns, "never"), putOp(ns, "c", []byte("1")), removeOp(ns, "c"), putOp(ns, "c", []byte("2")))
	entries, _ := t.list(r, ns, "", 0)
	if wrong := same(entries, map[string]string{"a": "2", "c": "2"}); wrong != "" {
		t.failf("after the batch: %s", wrong)
	}
	for _, e := range entries {
		if e.GetRevision() > revision {
			t.failf(
				"the revision of %s is %d, and its Batch was answered with %d, which must be the last one of the batch",
				quote(e.GetKey()),
				e.GetRevision(),
				revision,
			)
		}
	}
	var ops []*pluginv1.Operation
	want := map[string]string{"a": "2", "c": "2"}
	value := strings.Repeat("v", batchBytes/batchOperations-64)
	if limit := t.traits().GetMaxTotalBytes(); limit > 0 && limit < 2*batchBytes {
		value = "v"
	}
	for i := range batchOperations {
		key := fmt.Sprintf("largest/%d", i)
		want[key] = value
		ops = append(ops, putOp(ns, key, []byte(value)))
	}
	t.batch(r, ops...)
	entries, _ = t.list(r, ns, "", 0)
	if wrong := same(entries, want); wrong != "" {
		t.failf("after a batch of %d operations and about 1 MiB: %s", batchOperations, wrong)
	}
}

func (t *trial) batchFails() {
	r, ns := t.plugin(), t.namespace("batchfails")
	atomic := t.traits().GetAtomicBatch()
	kept := t.put(r, ns, "kept", []byte("1"))
	expecting := func(key string, revision int64) *pluginv1.Operation {
		op := putOp(ns, key, []byte("2"))
		op.GetPut().Expect = &pluginv1.Expect{Revision: revision}
		return op
	}
	ops := []*pluginv1.Operation{
		putOp(ns, "before", []byte("2")),
		expecting("kept", kept),
		expecting("kept2", kept+1000),
		putOp(ns, "after", []byte("2")),
		removeOp(ns, "kept"),
	}
	resp, err := r.meta.Batch(t.ctx, &pluginv1.BatchRequest{Operations: ops})
	t.must(err)
	switch {
	case resp.GetDone():
		t.failf("an expectation does not hold, and done is true")
	case resp.GetFailedIndex() != 2:
		t.failf("the expectation of operation 2 does not hold, and failed_index is %d", resp.GetFailedIndex())
	}
	t.absent(r, ns, "after", "though it comes after the operation that failed")
	t.absent(r, ns, "kept2", "though its expectation did not hold")
	if t.get(r, ns, "kept") == nil {
		t.failf("\"kept\" is absent, though its removal comes after the operation that failed")
	}
	if atomic {
		t.absent(r, ns, "before", "though atomic_batch is declared and the batch failed")
		t.holds(r, ns, "kept", "1", kept)
	}
	good := t.get(r, ns, "kept").GetRevision()
	resp, err = r.meta.Batch(t.ctx, &pluginv1.BatchRequest{Operations: []*pluginv1.Operation{expecting("kept", good), expecting("new", 0)}})
	t.must(err)
	if !resp.GetDone() {
		t.failf("the expectations of a batch hold, and done is false")
	}
	t.holds(r, ns, "kept", "2", 0)
	t.holds(r, ns, "new", "2", 0)
}
