package meta

import (
	"context"
	"maps"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// changes makes polling cheap. On a backend without Watch, every batch of writes also increments, under the writer's own key, a counter for
// each namespace it touches. Every node reads these few keys often. Each node has its own key, because nodes without compare-and-set would
// lose counts in a shared counter.
type changes struct {
	m *Meta

	mu  sync.Mutex
	own map[string]int64
	// seen is the latest content of each other node's key. Used by run only.
	seen map[string]changesRecord
}

type changesRecord struct {
	header
	Instance string           `json:"instance"`
	Counts   map[string]int64 `json:"changes"`
}

func newChanges(m *Meta) *changes {
	return &changes{m: m, own: map[string]int64{}, seen: map[string]changesRecord{}}
}

// bump returns the operation that announces ops to other nodes; nil if no announcement is needed.
func (m *Meta) bump(ops []*pluginv1.Operation) *pluginv1.Operation {
	if m.traits().GetWatch() {
		return nil
	}
	c := m.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	any := false
	for _, op := range ops {
		ns := target(op).ns
		if ns == NamespaceChanges {
			return nil
		}
		if m.mirrors[ns] != nil && ns != NamespaceNodes {
			any = true
			c.own[ns]++
		}
	}
	if !any {
		return nil
	}
	return put(NamespaceChanges, m.opts.NodeID, encode(&changesRecord{header{recordVersion}, m.instance, maps.Clone(c.own)}), 0)
}

// run polls until ctx ends.
func (c *changes) run(ctx context.Context) {
	t := time.NewTicker(c.m.opts.PollInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !c.m.traits().GetWatch() {
			c.poll(ctx)
		}
	}
}

// poll wakes the mirrors of the namespaces that other nodes have changed. A node seen for the first time wakes all the mirrors that it
// names, because it may have written after our listing.
func (c *changes) poll(ctx context.Context) {
	_, err := c.m.backend.list(ctx, NamespaceChanges, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			if e.GetKey() == c.m.opts.NodeID {
				continue
			}
			var r changesRecord
			if err := decode(NamespaceChanges, e.GetKey(), e.GetValue(), &r); err != nil {
				c.m.invalid(NamespaceChanges, e.GetKey(), err)
				continue
			}
			before := c.seen[e.GetKey()]
			for ns, n := range r.Counts {
				if mirror := c.m.mirrors[ns]; mirror != nil && (before.Counts[ns] != n || before.Instance != r.Instance) {
					mirror.resync()
				}
			}
			c.seen[e.GetKey()] = r
		}
		return nil
	})
	if err == nil {
		for _, r := range c.m.mirrors {
			if r.loaded.Load() && r.lastError() == nil {
				r.current()
			}
		}
	}
}
