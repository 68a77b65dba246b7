package plugintest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	groupMeta = "meta"
	// batchOperations and batchBytes are the largest batch that the gateway sends.
	batchOperations = 101
	batchBytes      = 1 << 20
	// longestKey is the longest key that the gateway uses: a topic.
	longestKey = 8 << 10
)

func metaCases() []check {
	cases := []check{
		{name: "reads back what was put", run: (*trial).putAndGet, rule: rule{
			text:  "Get answers the entry that was put last, with its revision, or found = false",
			proto: "meta.proto, Meta.Get and Meta.Put", section: "meta"}},
		{name: "removes, and removing what is absent is no error", run: (*trial).removal, rule: rule{
			text:  "Delete removes one entry; removing what is absent is no error",
			proto: "meta.proto, Meta.Delete", section: "meta"}},
		{name: "counts revisions up", run: (*trial).revisionsGrow, rule: rule{
			text:    "A revision is a positive number that grows with every change of a key, its removal included; with compare_and_set it grows over all keys together",
			proto:   "meta.proto, Meta",
			section: "revisions",
		}},
		{name: "keeps values of every byte and of every length", run: (*trial).anyValue, rule: rule{
			text:  "A value is bytes, of any length up to max_value_bytes, empty included",
			proto: "meta.proto, Entry.value", section: "meta"}},
		{name: "keeps unusual keys apart", run: (*trial).anyKey, rule: rule{
			text:  "A key is any UTF-8 text up to 8 KiB, empty included; keys that differ in a byte are different",
			proto: "meta.proto, Entry.key", section: "meta"}},
		{name: "keeps namespaces apart", run: (*trial).namespacesApart, rule: rule{
			text:  "An entry belongs to one namespace, whatever the others are called",
			proto: "meta.proto, Entry.namespace", section: "meta"}},
		{name: "lists in key order, by prefix, in pages", run: (*trial).listsInOrder, limit: longLimit, rule: rule{
			text:    "List streams all entries of a namespace whose key has the prefix, in the order of the keys' bytes, in pages of up to page_size, each with the revision of the snapshot",
			proto:   "meta.proto, Meta.List",
			section: "list",
		}},
		{name: "lists more than fits in one message", run: (*trial).listsMuch, limit: longLimit, rule: rule{
			text:  "A page is well below the 16 MiB that a message may have, whatever page_size says",
			proto: "meta.proto, Meta.List", section: "limits"}},
		{name: "writes only where the expectation holds", run: (*trial).expectations, rule: rule{
			text:    "With expect, the key must have that revision, or be absent for 0; otherwise done is false, nothing changes, and current is what is there",
			proto:   "meta.proto, Expect",
			section: "expectations",
		}},
		{name: "applies a batch in order", run: (*trial).batchInOrder, rule: rule{
			text:    "Batch applies its operations in order; a later one on the same key counts. The gateway's have up to 101 operations and 1 MiB",
			proto:   "meta.proto, Meta.Batch",
			section: "batch",
		}},
		{name: "applies a batch whole or not at all, as declared", run: (*trial).batchFails, rule: rule{
			text:    "Where an expectation of a batch does not hold, done is false and failed_index says which; with atomic_batch nothing was applied, without it nothing from that operation on",
			proto:   "meta.proto, BatchResponse",
			section: "batch",
		}},
		{name: "refuses malformed requests and goes on", run: (*trial).malformedMeta, rule: rule{
			text:  "INVALID_ARGUMENT for a malformed request, of which nothing is applied",
			proto: "meta.proto, gRPC errors", section: "errors"}},
		{name: "refuses a value over its limit", run: (*trial).valueLimit, limit: longLimit, rule: rule{
			text:  "RESOURCE_EXHAUSTED where a limit of Describe is reached, and nothing is written; up to the limit values are kept",
			proto: "meta.proto, gRPC errors; plugin.proto, MetaTraits", section: "limits"}},
		{name: "lets entries expire if it declares ttl", run: (*trial).expiry, limit: longLimit, rule: rule{
			text:  "With ttl an entry disappears by itself ttl_ms after it was put last, never earlier; without it ttl_ms is ignored",
			proto: "meta.proto, PutRequest.ttl_ms", section: "ttl"}},
		{name: "takes writes from many at once", run: (*trial).writesAtOnce, limit: longLimit, rule: rule{
			text:  "Calls come from several goroutines at once; every write that was answered is there",
			proto: "meta.proto, Meta", section: "calls"}},
		{name: "loses no update of writers that compare and set", run: (*trial).compareAndSet, limit: longLimit, rule: rule{
			text:  "With compare_and_set an expectation is checked atomically against every other writer",
			proto: "plugin.proto, MetaTraits.compare_and_set", section: "expectations"}},
		{name: "shares its data between nodes if it declares shared", run: (*trial).sharedData, limit: longLimit, rule: rule{
			text:  "With shared several gateway nodes, each with a plugin of its own, have the same data",
			proto: "plugin.proto, MetaTraits.shared", section: "meta"}},
		{name: "goes on after calls and listings that were given up", run: (*trial).abandonedMeta, rule: rule{
			text:  "A caller may give a call or a stream up; the plugin goes on with the others",
			proto: "meta.proto, Meta", section: "calls"}},
		{name: "keeps what was answered over a restart", run: (*trial).durable, limit: longLimit, rule: rule{
			text:  "What was answered is there when the plugin has been stopped or killed and started again, and revisions go on growing",
			proto: "meta.proto, Meta.Put", section: "meta"}},
	}
	cases = append(cases, watchCases()...)
	// This case is the last, because it leaves the backend with little room.
	cases = append(
		cases,
		check{name: "refuses what is over its limits of keys and bytes", run: (*trial).totalLimits, limit: longLimit, rule: rule{
			text:  "RESOURCE_EXHAUSTED where a limit of Describe is reached, and nothing is written; reading and removing go on",
			proto: "meta.proto, gRPC errors; plugin.proto, MetaTraits", section: "limits"}},
	)
	for i := range cases {
		cases[i].group, cases[i].needs = groupMeta, needsActive
	}
	return cases
}

func (t *trial) putAndGet() {
	r, ns := t.plugin(), t.namespace("get")
	t.absent(r, ns, "none", "in a namespace that nothing was put into")
	one := t.put(r, ns, "a", []byte("1"))
	t.holds(r, ns, "a", "1", one)
	t.holds(r, ns, "a", "2", t.put(r, ns, "a", []byte("2")))
	t.put(r, ns, "b", []byte("other"))
	t.holds(r, ns, "a", "2", 0)
	t.absent(r, ns, "aa", "and only \"a\" was put")
	t.absent(r, ns, "", "and only \"a\" was put")
	if again := t.put(r, ns, "a", []byte("2")); t.get(r, ns, "a").GetRevision() != again {
		t.failf("after a Put of the value that was there, the revision is not that of the Put (%d)", again)
	}
}

func (t *trial) removal() {
	r, ns := t.plugin(), t.namespace("delete")
	t.put(r, ns, "a", []byte("1"))
	t.put(r, ns, "b", []byte("1"))
	t.remove(r, ns, "a")
	t.absent(r, ns, "a", "and was removed")
	t.holds(r, ns, "b", "1", 0)
	t.remove(r, ns, "a")
	t.remove(r, ns, "never")
	if entries, _ := t.list(r, ns, "", 0); same(entries, map[string]string{"b": "1"}) != "" {
		t.failf("%s", same(entries, map[string]string{"b": "1"}))
	}
	t.holds(r, ns, "a", "again", t.put(r, ns, "a", []byte("again")))
}

func (t *trial) revisionsGrow() {
	r, ns := t.plugin(), t.namespace("revisions")
	t.put(r, ns, "warm", nil)
	last := map[string]int64{}
	all := int64(0)
	grew := func(what, key string, revision int64) {
		if revision <= last[key] {
			t.failf("the revision of %s of %s is %d, and that of the change before was %d", what, quote(key), revision, last[key])
		}
		if t.traits().GetCompareAndSet() && revision <= all {
			t.failf("the revision of %s of %s is %d, and another key was changed at %d before", what, quote(key), revision, all)
		}
		last[key], all = revision, max(all, revision)
	}
	for i := range 5 {
		for _, key := range []string{"a", "b"} {
			grew("a Put", key, t.put(r, ns, key, fmt.Appendf(nil, "%d", i)))
		}
		grew("a Delete", "a", t.remove(r, ns, "a"))
		grew("a Batch", "b", t.batch(r, putOp(ns, "b", []byte("batch"))))
		if e := t.get(r, ns, "b"); e.GetRevision() != last["b"] {
			t.failf("the revision of \"b\" is %d, and its Batch was answered with %d", e.GetRevision(), last["b"])
		}
	}
	entries, revision := t.list(r, ns, "", 0)
	for _, e := range entries {
		if want, ok := last[e.GetKey()]; ok && e.GetRevision() != want {
			t.failf("List has the revision %d for %s, and its last change was answered with %d", e.GetRevision(), quote(e.GetKey()), want)
		}
	}
	if revision < all {
		t.failf("the revision of List is %d, and a change was answered with %d before", revision, all)
	}
}

// mostValue is the largest value that cases put, if Describe allows it: a retained message of the largest packet.
const mostValue = 1<<20 + 1<<16

// roomFor returns n, or the value limit in Describe if that is less.
func (t *trial) roomFor(n int) int {
	if limit := t.traits().GetMaxValueBytes(); limit > 0 && uint64(n) > limit {
		return int(limit)
	}
	return n
}

func (t *trial) anyValue() {
	r, ns := t.plugin(), t.namespace("values")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := map[string]string{
		"empty": "", "zero": "\x00", "every": string(every), "line breaks": "\r\n\n", "quotes": `"'\`, "not utf-8": "\xff\xfe\xc0",
		"large": strings.Repeat("\x00\xff", t.roomFor(100<<10)/2), "largest": strings.Repeat("x", t.roomFor(mostValue)),
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		t.put(r, ns, key, []byte(values[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		t.holds(r, ns, key, values[key], 0)
	}
	entries, _ := t.list(r, ns, "", 0)
	if wrong := same(entries, values); wrong != "" {
		t.failf("%s", wrong)
	}
	t.put(r, ns, "every", nil)
	t.holds(r, ns, "every", "", 0)
	for key := range values {
		t.remove(r, ns, key)
	}
}

// unusualKeys returns keys that differ in one byte, in case, or in a way that patterns or paths could treat as equal.
func unusualKeys() []string {
	return []string{
		"",
		" ",
		"a",
		"A",
		"a ",
		" a",
		"a/",
		"a/b",
		"/a",
		"//",
		".",
		"..",
		"../a",
		"*",
		"%",
		"%2F",
		"_",
		"a_b",
		"a%b",
		"axb",
		"?",
		"#",
		"+/#",
		"$SYS/x",
		"~",
		"~41",
		"\\",
		`"`,
		"'",
		"a'b",
		"--",
		"\t",
		"\n",
		"\x00",
		"\x01",
		"a\x00b",
		"ü",
		"u\u0308",
		"Ü",
		"日本語",
		"\U0001F600",
		"\u00a0",
		"\ufeff",
		"a,b",
		"a=b",
		"a:b",
		"a|b",
		"null",
		strings.Repeat("k", longestKey),
		strings.Repeat("k", longestKey-1),
	}
}

func (t *trial) anyKey() {
	r, ns := t.plugin(), t.namespace("keys")
	want := map[string]string{}
	keys := unusualKeys()
	for i, key := range keys {
		want[key] = strconv.Itoa(i)
		t.put(r, ns, key, []byte(want[key]))
	}
	for _, key := range keys {
		t.holds(r, ns, key, want[key], 0)
	}
	entries, _ := t.list(r, ns, "", 7)
	if wrong := same(entries, want); wrong != "" {
		t.failf("%s", wrong)
	}
	for i, key := range keys {
		if i%2 == 0 {
			t.remove(r, ns, key)
			delete(want, key)
		}
	}
	entries, _ = t.list(r, ns, "", 0)
	if wrong := same(entries, want); wrong != "" {
		t.failf("after every other key was removed: %s", wrong)
	}
}

func (t *trial) namespacesApart() {
	r := t.plugin()
	base := t.namespace("ns")
	spaces := []string{base, t.namespace("ns2"), t.namespace("ns.x"), t.namespace("ns-x"), t.namespace("NS")}
	for i, ns := range spaces {
		for _, key := range []string{"k", "x/k", "2/k"} {
			t.put(r, ns, key, fmt.Appendf(nil, "%d", i))
		}
	}
	for i, ns := range spaces {
		entries, _ := t.list(r, ns, "", 0)
		v := strconv.Itoa(i)
		if wrong := same(entries, map[string]string{"k": v, "x/k": v, "2/k": v}); wrong != "" {
			t.failf("in the namespace %s, beside others: %s", quote(ns), wrong)
		}
	}
	t.remove(r, base, "k")
	t.holds(r, spaces[1], "k", "1", 0)
	t.holds(r, spaces[2], "k", "2", 0)
}

func (t *trial) expectations() {
	r, ns := t.plugin(), t.namespace("expect")
	try := func(key, value string, expect int64) *pluginv1.PutResponse {
		t.touched = r
		resp, err := r.meta.Put(
			t.ctx,
			&pluginv1.PutRequest{Namespace: ns, Key: key, Value: []byte(value), Expect: &pluginv1.Expect{Revision: expect}},
		)
		t.must(err)
		return resp
	}
	took := func(resp *pluginv1.PutResponse) int64 {
		if !resp.GetDone() {
			t.failf("the expectation holds, and done is false")
		}
		return resp.GetRevision()
	}
	refused := func(done bool, current *pluginv1.Entry, value string, revision int64) {
		switch {
		case done:
			t.failf("the expectation does not hold, and done is true")
		case revision == 0 && current != nil:
			t.failf("the key is absent, and current is an entry")
		case revision != 0 && (current.GetRevision() != revision || string(current.GetValue()) != value):
			t.failf("current must be the entry that is there, at revision %d with the value %s", revision, quote(value))
		}
	}
	first := took(try("k", "1", 0))
	t.holds(r, ns, "k", "1", first)
	resp := try("k", "x", 0)
	refused(resp.GetDone(), resp.GetCurrent(), "1", first)
	resp = try("k", "x", first+1)
	refused(resp.GetDone(), resp.GetCurrent(), "1", first)
	t.holds(r, ns, "k", "1", first)
	second := took(try("k", "2", first))
	resp = try("k", "x", first)
	refused(resp.GetDone(), resp.GetCurrent(), "2", second)
	t.holds(r, ns, "k", "2", second)
	resp = try("never", "x", second)
	refused(resp.GetDone(), resp.GetCurrent(), "", 0)
	t.absent(r, ns, "never", "and the expectation of its Put did not hold")

	tryDelete := func(key string, expect int64) *pluginv1.DeleteResponse {
		t.touched = r
		resp, err := r.meta.Delete(t.ctx, &pluginv1.DeleteRequest{Namespace: ns, Key: key, Expect: &pluginv1.Expect{Revision: expect}})
		t.must(err)
		return resp
	}
	for _, stale := range []int64{0, first} {
		d := tryDelete("k", stale)
		refused(d.GetDone(), d.GetCurrent(), "2", second)
	}
	t.holds(r, ns, "k", "2", second)
	if !tryDelete("k", second).GetDone() {
		t.failf("the expectation of a Delete holds, and done is false")
	}
	t.absent(r, ns, "k", "and was removed")
	d := tryDelete("k", second)
	refused(d.GetDone(), d.GetCurrent(), "", 0)
	if !tryDelete("k", 0).GetDone() {
		t.failf("the key is absent, as the Delete expects, and done is false")
	}
	took(try("k", "3", 0))
	t.holds(r, ns, "k", "3", 0)
}

func (t *trial) malformedMeta() {
	r, ns := t.plugin(), t.namespace("malformed")
	t.put(r, ns, "a", []byte("1"))
	for _, ops := range [][]*pluginv1.Operation{
		{{}},
		{putOp(ns, "a", []byte("2")), {}},
		{putOp(ns, "b", []byte("2")), {Kind: &pluginv1.Operation_Put{}}, {}},
	} {
		_, err := r.meta.Batch(t.ctx, &pluginv1.BatchRequest{Operations: ops})
		if status.Code(err) != codes.InvalidArgument {
			t.failf("a batch with an operation that is neither put nor delete must be INVALID_ARGUMENT")
		}
	}
	t.holds(r, ns, "a", "1", 0)
	t.absent(r, ns, "b", "though its batch was malformed")
	// Any answer to these is fine, as long as the plugin keeps working.
	_, _ = r.meta.Get(t.ctx, &pluginv1.GetRequest{})
	_, _ = r.meta.Put(t.ctx, &pluginv1.PutRequest{})
	_, _ = r.meta.Delete(t.ctx, &pluginv1.DeleteRequest{})
	_, _ = r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: strings.Repeat("n", 70000), Key: "k"})
	_, _ = r.meta.Get(t.ctx, &pluginv1.GetRequest{Namespace: ns, Key: strings.Repeat("k", 200000)})
	_, _ = r.meta.Put(t.ctx, &pluginv1.PutRequest{Namespace: ns, Key: "a", Value: []byte("x"), Expect: &pluginv1.Expect{Revision: -1}})
	_, _, _ = listing(t.ctx, r, &pluginv1.ListRequest{})
	t.batch(r)
	t.holds(r, ns, "a", "1", 0)
}

func (t *trial) valueLimit() {
	limit := t.traits().GetMaxValueBytes()
	if limit == 0 {
		t.skip("Describe gives no limit for values")
	}
	const most = 15 << 20
	if limit > most {
		t.failf("max_value_bytes is %d; a message has up to 16 MiB, so no value of more than %d can arrive", limit, most)
	}
	r, ns := t.plugin(), t.namespace("limit")
	t.put(r, ns, "k", bytes.Repeat([]byte{7}, int(limit)))
	if e := t.get(r, ns, "k"); len(e.GetValue()) != int(limit) {
		t.failf("a value of max_value_bytes (%d) came back with %d bytes", limit, len(e.GetValue()))
	}
	t.put(r, ns, "k", []byte("small"))
	large := bytes.Repeat([]byte{7}, int(limit)+1)
	if _, err := r.meta.Put(
		t.ctx,
		&pluginv1.PutRequest{Namespace: ns, Key: "k", Value: large},
	); status.Code(
		err,
	) != codes.ResourceExhausted {
		t.failf("a value of %d bytes, one more than max_value_bytes, must be RESOURCE_EXHAUSTED", len(large))
	}
	t.holds(r, ns, "k", "small", 0)
	if _, err := r.meta.Batch(
		t.ctx,
		&pluginv1.BatchRequest{Operations: []*pluginv1.Operation{putOp(ns, "k", large)}},
	); status.Code(
		err,
	) != codes.ResourceExhausted {
		t.failf("a batch with a value of %d bytes, one more than max_value_bytes, must be RESOURCE_EXHAUSTED", len(large))
	}
	t.holds(r, ns, "k", "small", 0)
}
