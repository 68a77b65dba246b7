package meta

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Node is a gateway that is alive as far as this node knows.
type Node struct {
	ID string
	// Instance identifies the node's process.
	Instance string
	Started  time.Time
	Info     map[string]string
	// Self is true for this node.
	Self bool
}

// nodes tells the other nodes that this one is alive, and notices when one of them is not.
//
// Only this node's clock is used: a node is alive while its record keeps changing. Time in which the metadata could not be read does not
// count, so no node is declared lost because of an outage of the backend.
type nodes struct {
	m       *Meta
	started time.Time

	mu    sync.Mutex
	peers map[string]*peer
	// beat is when the last durable heartbeat of this node began to be sent.
	beat    time.Time
	err     error
	warned  bool
	leaving bool
	// unread is when the records became unreadable; zero while they are readable.
	unread time.Time
	// soon requests an immediate heartbeat; buffered.
	soon chan struct{}
}

type peer struct {
	record nodeRecord
	// heard is when the record last changed. After an outage it is reset to the present.
	heard time.Time
	lost  bool
}

type nodeRecord struct {
	header
	Instance string            `json:"instance"`
	Started  int64             `json:"started_ms"`
	Beat     int64             `json:"beat_ms"`
	Left     bool              `json:"left,omitempty"`
	Info     map[string]string `json:"info,omitempty"`
}

func newNodes(m *Meta) *nodes {
	return &nodes{m: m, started: time.Now(), peers: map[string]*peer{}, soon: make(chan struct{}, 1)}
}

// applyKey applies one key of NamespaceNodes.
func (n *nodes) applyKey(key string, e *pluginv1.Entry) {
	if n.applied(key, e) {
		n.m.calls.mu.Lock()
		n.m.calls.leftNodes = append(n.m.calls.leftNodes, key)
		n.m.calls.mu.Unlock()
		n.m.calls.wakeUp()
	}
}

// applied is applyKey. It reports whether the key shows that a node has just left.
func (n *nodes) applied(key string, e *pluginv1.Entry) (left bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[key]
	if e == nil {
		// A node that did not leave stays until it was silent long enough: its record may have expired only because of an outage.
		if p != nil && (p.record.Left || p.lost || key == n.m.opts.NodeID) {
			delete(n.peers, key)
		}
		return false
	}
	var r nodeRecord
	if err := decode(NamespaceNodes, key, e.GetValue(), &r); err != nil {
		n.m.invalid(NamespaceNodes, key, err)
		return false
	}
	if key == n.m.opts.NodeID && r.Instance != n.m.instance && !r.Left && r.Started > n.started.UnixMilli() && !n.warned {
		n.warned = true
		n.m.log.Error("another gateway runs with this node's id; give each a node.id of its own", "node", key)
	}
	if p == nil {
		p = &peer{}
		n.peers[key] = p
	} else {
		left = r.Left && !p.record.Left && key != n.m.opts.NodeID
	}
	p.record, p.heard, p.lost = r, time.Now(), false
	return left
}

// run sends heartbeats and looks for lost nodes until ctx ends.
func (n *nodes) run(ctx context.Context) {
	n.heartbeat(ctx)
	beat := time.NewTicker(n.m.opts.HeartbeatInterval)
	defer beat.Stop()
	look := time.NewTicker(n.m.opts.HeartbeatInterval / 4)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			n.heartbeat(ctx)
		case <-n.soon:
			n.heartbeat(ctx)
		case <-look.C:
			n.look(ctx, time.Now())
		}
	}
}

// rebase restarts the silence period of every node, because the backend has changed, and requests a heartbeat.
func (n *nodes) rebase() {
	n.mu.Lock()
	n.unread = time.Now()
	n.mu.Unlock()
	select {
	case n.soon <- struct{}{}:
	default:
	}
}

func (n *nodes) heartbeat(ctx context.Context) {
	n.mu.Lock()
	leaving := n.leaving
	n.mu.Unlock()
	if leaving {
		return
	}
	begin := time.Now()
	err := n.write(ctx, false)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		if time.Since(n.beat) > outage(n.m) && n.unread.IsZero() {
			n.unread = begin // look may not have run meanwhile
		}
		n.beat = begin
	}
	n.err = err
}

// outage is how long this node's heartbeats must have failed before the silence of other nodes stops counting.
func outage(m *Meta) time.Duration { return 3 * m.opts.HeartbeatInterval }

func (n *nodes) write(ctx context.Context, left bool) error {
	o := &n.m.opts
	value := encode(&nodeRecord{header{recordVersion}, n.m.instance, n.started.UnixMilli(), time.Now().UnixMilli(), left, o.NodeInfo})
	_, err := n.m.writer.write(ctx, put(NamespaceNodes, o.NodeID, value, o.LostAfter))
	return err
}

// leave marks this node as having left cleanly.
func (n *nodes) leave(ctx context.Context) {
	n.mu.Lock()
	n.leaving = true
	never := n.beat.IsZero()
	n.mu.Unlock()
	if never {
		return
	}
	if err := n.write(ctx, true); err != nil {
		n.m.log.Warn("the other nodes could not be told that this one leaves", "error", err)
	}
}

func (n *nodes) lastError() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// look finds lost nodes, and removes the records of nodes that are long gone.
func (n *nodes) look(ctx context.Context, now time.Time) {
	mirror := n.m.mirrors[NamespaceNodes]
	readable := mirror.loaded.Load() && mirror.lastError() == nil
	var lost, clean []string
	n.mu.Lock()
	// Failing heartbeats of this node are the quickest sign of an outage: those of other nodes fail then too.
	readable = readable && n.err == nil && now.Sub(n.beat) < outage(n.m)
	if !readable {
		if n.unread.IsZero() {
			n.unread = now
		}
		n.mu.Unlock()
		return
	}
	if !n.unread.IsZero() { // after an outage, restart the silence period of every node
		n.unread = time.Time{}
		for _, p := range n.peers {
			p.heard = now
		}
	}
	for id, p := range n.peers {
		if id == n.m.opts.NodeID {
			continue
		}
		silent := now.Sub(p.heard)
		switch {
		case p.record.Left && silent > n.m.opts.LostAfter:
			clean = append(clean, id)
		case p.record.Left || p.lost:
			if p.lost && silent > 3*n.m.opts.LostAfter {
				clean = append(clean, id)
			}
		case silent > n.m.opts.LostAfter:
			p.lost = true
			lost = append(lost, id)
		}
	}
	n.mu.Unlock()
	if len(lost) > 0 {
		slices.Sort(lost)
		n.m.log.Warn("nodes lost", "nodes", lost)
		n.m.calls.mu.Lock()
		n.m.calls.lostNodes = append(n.m.calls.lostNodes, lost...)
		n.m.calls.mu.Unlock()
		n.m.calls.wakeUp()
	}
	if len(clean) == 0 || !n.leads() {
		return
	}
	for _, id := range clean {
		if err := n.forget(ctx, id); err != nil {
			n.m.log.Warn("record of a node that is gone not removed; will be tried again", "node", id, "error", err)
			return
		}
	}
}

// forget removes what a lost node has left behind.
func (n *nodes) forget(ctx context.Context, id string) error {
	ops := []*pluginv1.Operation{remove(NamespaceNodes, id)}
	if !n.m.traits().GetWatch() {
		ops = append(ops, remove(NamespaceChanges, id))
	}
	if _, err := n.m.writer.write(ctx, ops...); err != nil {
		return fmt.Errorf("forget node %q: %w", id, err)
	}
	n.mu.Lock()
	delete(n.peers, id)
	n.mu.Unlock()
	return nil
}

func (n *nodes) live() []Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	live := []Node{{ID: n.m.opts.NodeID, Instance: n.m.instance, Started: n.started, Info: n.m.opts.NodeInfo, Self: true}}
	for id, p := range n.peers {
		if id != n.m.opts.NodeID && !p.record.Left && !p.lost {
			live = append(live, Node{ID: id, Instance: p.record.Instance, Started: fromMillis(p.record.Started), Info: p.record.Info})
		}
	}
	slices.SortFunc(live, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return live
}

// leads reports whether this node is the leader: of the live nodes it has the lowest id.
func (n *nodes) leads() bool { return n.live()[0].Self && n.m.LeaseValid() }

// Nodes returns the live nodes, including this one, sorted by id.
func (m *Meta) Nodes() []Node { return m.nodes.live() }

// NodesAge returns how old the result of Nodes may be. While the backend answers, it is little more than Options.HeartbeatInterval: the
// nodes' own heartbeats bring it up to date.
func (m *Meta) NodesAge() time.Duration {
	r := m.mirrors[NamespaceNodes]
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.asOf)
}

// LeaseValid reports whether the other nodes have reason to consider this node alive: it wrote a heartbeat within the last
// Options.LostAfter.
func (m *Meta) LeaseValid() bool {
	m.nodes.mu.Lock()
	defer m.nodes.mu.Unlock()
	return !m.nodes.beat.IsZero() && time.Since(m.nodes.beat) < m.opts.LostAfter
}

// NodeLeft reports whether a value of NamespaceNodes belongs to a node that left cleanly.
func NodeLeft(value []byte) bool {
	var r nodeRecord
	return decode(NamespaceNodes, "", value, &r) == nil && r.Left
}
