package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

func TestThePluginKeepsTheContract(t *testing.T) {
	profile, err := plugintest.LoadProfile("plugintest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plugintest.RunMeta(t, plugintest.MetaPlugin(func() sdk.MetaPlugin { return newPlugin() }), profile)
}

// activate opens a plugin on a file and releases it with the test.
func activate(t *testing.T, path string) *plugin {
	t.Helper()
	p := newPlugin()
	block, err := json.Marshal(map[string]string{"path": path, "poll_interval": "5ms"})
	if err != nil {
		t.Fatal(err)
	}
	if problems := p.Configure(t.Context(), sdk.Setup{Config: block}); len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := p.Activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Deactivate(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func put(key, value string, expect *pluginv1.Expect) *pluginv1.PutRequest {
	return &pluginv1.PutRequest{Namespace: "n", Key: key, Value: []byte(value), Expect: expect}
}

func mustPut(t *testing.T, p *plugin, r *pluginv1.PutRequest) int64 {
	t.Helper()
	resp, err := p.Put(t.Context(), r)
	if err != nil || !resp.GetDone() {
		t.Fatal(resp, err)
	}
	return resp.GetRevision()
}

// next reads a watch until it has reported something.
func next(t *testing.T, p *plugin, after int64) *pluginv1.WatchResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got *pluginv1.WatchResponse
	err := p.Watch(ctx, &pluginv1.WatchRequest{Namespace: "n", AfterRevision: after}, func(r *pluginv1.WatchResponse) error {
		got = r
		cancel()
		return nil
	})
	if got == nil {
		t.Fatal(err)
	}
	return got
}

func TestTwoProcessesShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%#?.sqlite") // characters that the driver could interpret
	one, two := activate(t, path), activate(t, path)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	first := mustPut(t, one, put("k", "1", &pluginv1.Expect{}))
	resp, err := two.Put(t.Context(), put("k", "2", &pluginv1.Expect{}))
	if err != nil || resp.GetDone() || resp.GetCurrent().GetRevision() != first || string(resp.GetCurrent().GetValue()) != "1" {
		t.Fatal(resp, err)
	}
	// Both increment one value by compare-and-set: no increment is lost.
	const each = 50
	var all sync.WaitGroup
	for _, p := range []*plugin{one, two} {
		all.Go(func() {
			for done := 0; done < each; {
				e, err := p.Get(t.Context(), &pluginv1.GetRequest{Namespace: "n", Key: "count"})
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				_, _ = fmt.Sscan(string(e.GetEntry().GetValue()), &n)
				resp, err := p.Put(t.Context(), put("count", fmt.Sprint(n+1), &pluginv1.Expect{Revision: e.GetEntry().GetRevision()}))
				if err != nil {
					t.Error(err)
					return
				}
				if resp.GetDone() {
					done++
				}
			}
		})
	}
	all.Wait()
	e, err := one.Get(t.Context(), &pluginv1.GetRequest{Namespace: "n", Key: "count"})
	if err != nil || string(e.GetEntry().GetValue()) != fmt.Sprint(2*each) {
		t.Fatal(e, err)
	}
}

func TestAWatchTellsWhatAnotherProcessWroteAndAlsoAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sqlite")
	one, two := activate(t, path), activate(t, path)
	first := mustPut(t, one, put("k", "", nil))
	got := next(t, two, 0)
	if len(got.GetEvents()) != 1 || got.GetEvents()[0].GetType() != pluginv1.Event_TYPE_PUT || got.GetRevision() != first {
		t.Fatal(got)
	}
	if _, err := one.Delete(t.Context(), &pluginv1.DeleteRequest{Namespace: "n", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	got = next(t, activate(t, path), first)
	if len(got.GetEvents()) != 1 || got.GetEvents()[0].GetType() != pluginv1.Event_TYPE_DELETE {
		t.Fatal("changes outlive their process", got)
	}
	if got = next(t, two, first+100); !got.GetCompacted() {
		t.Fatal("a revision that was never given out", got)
	}
}

func TestAWatchThatIsTooFarBehindIsTold(t *testing.T) {
	p := activate(t, filepath.Join(t.TempDir(), "m.sqlite"))
	p.db.maxChanges = 10
	var last int64
	for i := range 30 {
		last = mustPut(t, p, put(fmt.Sprint(i), "v", nil))
	}
	if got := next(t, p, 1); !got.GetCompacted() || len(got.GetEvents()) > 0 {
		t.Fatal(got)
	}
	if got := next(t, p, last-10); got.GetCompacted() || len(got.GetEvents()) != 10 {
		t.Fatal(got)
	}
}

func TestALargeWatchComesInPartsAndARevisionIsNeverSplit(t *testing.T) {
	p := activate(t, filepath.Join(t.TempDir(), "m.sqlite"))
	big := string(make([]byte, 700<<10))
	for range 2 {
		var ops []*pluginv1.Operation
		for i := range 3 {
			ops = append(ops, &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: put(fmt.Sprint(i), big, nil)}})
		}
		if resp, err := p.Batch(t.Context(), &pluginv1.BatchRequest{Operations: ops}); err != nil || !resp.GetDone() {
			t.Fatal(resp, err)
		}
	}
	for after := range int64(2) {
		got := next(t, p, after)
		if len(got.GetEvents()) != 3 || got.GetRevision() != after+1 {
			t.Fatal(len(got.GetEvents()), got.GetRevision())
		}
	}
}

func TestTheFileIsForItsOwnerAndAWrongOneIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "m.sqlite")
	mustPut(t, activate(t, path), put("k", "v", nil))
	for _, end := range []string{"", "-wal"} {
		info, err := os.Stat(path + end)
		if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
			t.Error(info, err)
		}
	}
	if err := os.WriteFile(path+"2", []byte("this is no database, it is a letter to somebody, and a long one at that"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlugin()
	p.Configure(t.Context(), sdk.Setup{Config: json.RawMessage(`{"path": "` + path + `2"}`)})
	if err := p.Activate(t.Context()); err == nil {
		t.Error("a letter was opened")
	}
	if problems := p.Configure(t.Context(), sdk.Setup{Config: json.RawMessage(`{"poll_interval": "0"}`)}); len(problems) != 1 {
		t.Error(problems)
	}
}
