package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// traits returns the traits of the meta plugin.
func (t *trial) traits() *pluginv1.MetaTraits { return t.suite.describe.GetMeta() }

// namespace returns a namespace of this run; it is emptied when the run ends.
func (s *suite) namespace(name string) string {
	ns := "plugintest-" + s.id + "-" + name
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.namespaces, ns) {
		s.namespaces = append(s.namespaces, ns)
	}
	return ns
}

// tidy removes what the cases wrote, on a best-effort basis; otherwise it would stay in a shared backend.
func (s *suite) tidy() {
	r := s.main
	if r == nil || r.dead() || s.describe.GetKind() != pluginv1.Kind_KIND_META {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, ns := range s.namespaces {
		entries, _, err := listing(ctx, r, &pluginv1.ListRequest{Namespace: ns})
		if err != nil {
			return
		}
		for chunk := range slices.Chunk(entries, batchOperations) {
			var ops []*pluginv1.Operation
			for _, e := range chunk {
				ops = append(ops, removeOp(ns, e.GetKey()))
			}
			if _, err := r.meta.Batch(ctx, &pluginv1.BatchRequest{Operations: ops}); err != nil {
				return
			}
		}
	}
}

func putOp(ns, key string, value []byte) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: &pluginv1.PutRequest{Namespace: ns, Key: key, Value: value}}}
}

func removeOp(ns, key string) *pluginv1.Operation {
	return &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{Namespace: ns, Key: key}}}
}

// put writes an entry, which must succeed, and returns its revision.
func (t *trial) put(r *running, ns, key string, value []byte) int64 {
	return t.putWith(r, &pluginv1.PutRequest{Namespace: ns, Key: key, Value: value})
}

// putWith is put with any request that must succeed.
func (t *trial) putWith(r *running, req *pluginv1.PutRequest) int64 {
	t.touched = r
	resp, err := r.meta.Put(t.ctx, req)
	t.must(err)
	if !resp.GetDone() {
		t.failf("done is false, though nothing stands in the way of the Put")
	}
	if resp.GetRevision() <= 0 {
		t.failf("the revision of a Put is %d; revisions are positive", resp.GetRevision())
	}
	return resp.GetRevision()
}

// remove removes an entry unconditionally.
func (t *trial) remove(r *running, ns, key string) int64 {
	t.touched = r
	resp, err := r.meta.Delete(t.ctx, &pluginv1.DeleteRequest{Namespace: ns, Key: key})
	t.must(err)
	if !resp.GetDone() {
		t.failf("done is false for a Delete without expectation")
	}
	return resp.GetRevision()
}

// batch executes operations, which must succeed.
func (t *trial) batch(r *running, ops ...*pluginv1.Operation) int64 {
	t.touched = r
	resp, err := r.meta.Batch(t.ctx, &pluginv1.BatchRequest{Operations: ops})
	t.must(err)
	if !resp.GetDone() {
		t.failf("done is false for a Batch without expectations")
	}
	if len(ops) > 0 && resp.GetRevision() <= 0 {
		t.failf("the revision of a Batch is %d; revisions are positive", resp.GetRevision())
	}
	return resp.GetRevision()
}

// get reads an entry; it returns nil if the entry is absent.
func (t *trial) get(r *running, ns, key string) *pluginv1.Entry {
	t.touched = r
	resp, err := r.meta.Get(t.ctx, &pluginv1.GetRequest{Namespace: ns, Key: key})
	t.must(err)
	if !resp.GetFound() {
		return nil
	}
	e := resp.GetEntry()
	if e.GetNamespace() != ns || e.GetKey() != key {
		t.failf("the entry is %s %s, and %s %s was asked for", quote(e.GetNamespace()), quote(e.GetKey()), quote(ns), quote(key))
	}
	if e.GetRevision() <= 0 {
		t.failf("the revision of the entry is %d; revisions are positive", e.GetRevision())
	}
	return e
}

// holds checks that a key has a value and, if revision is not 0, that revision.
func (t *trial) holds(r *running, ns, key, value string, revision int64) {
	switch e := t.get(r, ns, key); {
	case e == nil:
		t.failf("%s is absent, and was put before with %s", quote(key), quote(value))
	case string(e.GetValue()) != value:
		t.failf("the value of %s is %s, and %s was put last", quote(key), quote(string(e.GetValue())), quote(value))
	case revision != 0 && e.GetRevision() != revision:
		t.failf("the revision of %s is %d, and its Put was answered with %d", quote(key), e.GetRevision(), revision)
	}
}

// absent checks that a key has no entry.
func (t *trial) absent(r *running, ns, key, why string) {
	if t.get(r, ns, key) != nil {
		t.failf("%s is there, %s", quote(key), why)
	}
}

// list reads a namespace and checks the rules that apply to every listing.
func (t *trial) list(r *running, ns, prefix string, pageSize uint32) (entries []*pluginv1.Entry, revision int64) {
	t.touched = r
	entries, revision, err := listing(t.ctx, r, &pluginv1.ListRequest{Namespace: ns, Prefix: prefix, PageSize: pageSize})
	if wrong, ok := errors.AsType[wrongListing](err); ok {
		t.late = wrong.late
		t.failf("%s", wrong.text)
	}
	t.must(err)
	return entries, revision
}

// wrongListing is the error of a listing that breaks a rule.
type wrongListing struct {
	text string
	late bool
}

func (w wrongListing) Error() string { return w.text }

// listing reads a namespace. A page must come within the deadline of a call. It may be called in any goroutine.
func listing(ctx context.Context, r *running, req *pluginv1.ListRequest) (entries []*pluginv1.Entry, revision int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := r.watcher.patience.times(metaLimit)
	late := time.AfterFunc(limit, cancel)
	defer late.Stop()
	wrong := func(format string, args ...any) ([]*pluginv1.Entry, int64, error) {
		return nil, 0, wrongListing{text: fmt.Sprintf(format, args...)}
	}
	stream, err := r.meta.List(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	for pages := 0; ; pages++ {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && pages == 0:
			return wrong(
				"List ends without a page; an empty listing is one page without entries, with the revision that a Watch starts from",
			)
		case errors.Is(err, io.EOF):
			return entries, revision, nil
		case err != nil && ctx.Err() != nil && !late.Stop():
			return nil, 0, wrongListing{text: fmt.Sprintf("no page of List within %v", limit), late: true}
		case err != nil:
			return nil, 0, err
		}
		late.Reset(limit)
		if n := len(resp.GetEntries()); req.GetPageSize() > 0 && n > int(req.GetPageSize()) {
			return wrong("a page of List has %d entries, and page_size is %d", n, req.GetPageSize())
		}
		switch {
		case resp.GetRevision() < 0 || resp.GetRevision() == 0 && len(resp.GetEntries()) > 0:
			return wrong(
				"a page of List has the revision %d; each page carries the revision of the snapshot, which is 0 only where nothing was ever written",
				resp.GetRevision(),
			)
		case pages > 0 && resp.GetRevision() != revision:
			return wrong("a page of List has the revision %d, the one before had %d; a listing has one", resp.GetRevision(), revision)
		}
		revision = resp.GetRevision()
		for _, e := range resp.GetEntries() {
			switch last := len(entries) - 1; {
			case e.GetNamespace() != req.GetNamespace():
				return wrong("List of %s has an entry of the namespace %s", quote(req.GetNamespace()), quote(e.GetNamespace()))
			case !strings.HasPrefix(e.GetKey(), req.GetPrefix()):
				return wrong("List with the prefix %s has the key %s", quote(req.GetPrefix()), quote(e.GetKey()))
			case e.GetRevision() <= 0:
				return wrong("the revision of %s in List is %d; revisions are positive", quote(e.GetKey()), e.GetRevision())
			case last >= 0 && entries[last].GetKey() == e.GetKey():
				return wrong("List has the key %s twice", quote(e.GetKey()))
			case last >= 0 && entries[last].GetKey() > e.GetKey():
				return wrong(
					"List has %s after %s; keys come in the order of their bytes",
					quote(e.GetKey()),
					quote(entries[last].GetKey()),
				)
			}
			entries = append(entries, e)
		}
	}
}

// same says how a listing differs from the wanted entries; "" if it does not.
func same(entries []*pluginv1.Entry, want map[string]string) string {
	have := make(map[string]string, len(entries))
	for _, e := range entries {
		have[e.GetKey()] = string(e.GetValue())
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value := want[key]
		switch got, there := have[key]; {
		case !there:
			return fmt.Sprintf("List lacks the key %s", quote(key))
		case got != value:
			return fmt.Sprintf("List has the value %s for %s, and %s was put last", quote(got), quote(key), quote(value))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, there := want[key]; !there {
			return fmt.Sprintf("List has the key %s, which is not there", quote(key))
		}
	}
	return ""
}
