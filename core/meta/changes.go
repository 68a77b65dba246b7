package meta

import (
	"context"
	"maps"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// changes makes polling cheap: on a backend without Watch every batch of writes also counts up, under the writer's own key,
// the namespaces it touched, and every node reads those few keys often. A key for each node, because a shared counter would lose
// counts between nodes that cannot compare and set.
type changes struct {
	m *Meta

	mu  sync.Mutex
	own map[string]int64
	// seen is what each other node's key last said. Touched by run only.
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

// bump returns the operation that tells other nodes of ops; nil where nobody needs it.
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

// poll wakes the mirrors of those namespaces that other nodes have changed. A node that is seen for the first time wakes all it
// names: what it wrote may be later than our listing.
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
