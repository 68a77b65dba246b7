package meta

import (
	"context"
	"sync"
)

// callbacks runs the registered callbacks of the package's users, one after another in a goroutine of its own (run). So a callback may call
// the package again, and never blocks a write or a watch.
type callbacks struct {
	m    *Meta
	wake chan struct{}

	mu            sync.Mutex
	topicsChanged []func()
	filterLost    []func(string)
	nodeLost      []func(string)
	nodeLeft      []func(string)
	bansChanged   []func()
	lostNodes     []string
	leftNodes     []string
	readers       Readers
}

func newCallbacks(m *Meta) *callbacks { return &callbacks{m: m, wake: make(chan struct{}, 1)} }

func (c *callbacks) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *callbacks) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		topics, bans := c.m.topics.takeChanged(), c.m.bans.takeChanged()
		filters := c.m.filters.takeLost()
		c.mu.Lock()
		lost, left := c.lostNodes, c.leftNodes
		c.lostNodes, c.leftNodes = nil, nil
		onTopics, onFilter, onBans := c.topicsChanged, c.filterLost, c.bansChanged
		onLost, onLeft := c.nodeLost, c.nodeLeft
		c.mu.Unlock()
		if bans {
			for _, f := range onBans {
				f()
			}
		}
		if topics {
			for _, f := range onTopics {
				f()
			}
		}
		for _, filter := range filters {
			if c.m.HasFilter(filter) {
				continue
			}
			for _, f := range onFilter {
				f(filter)
			}
			if c.m.readHere(filter) {
				c.m.retired.restore(filter)
			}
		}
		for _, node := range lost {
			for _, f := range onLost {
				f(node)
			}
		}
		for _, node := range left {
			for _, f := range onLeft {
				f(node)
			}
		}
	}
}

// Readers reports which registered filters something on this node reads although no session record names them: those of shared groups with
// only clean sessions.
type Readers interface {
	// GroupReads is called without locks and must be quick.
	GroupReads(filter string) bool
}

// ReadBy keeps the registrations of filters that r reads, and restores them if they vanish.
func (m *Meta) ReadBy(r Readers) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.readers = r
}

// readHere reports whether something on this node reads a filter that no session record names.
func (m *Meta) readHere(filter string) bool {
	m.calls.mu.Lock()
	r := m.calls.readers
	m.calls.mu.Unlock()
	return r != nil && r.GroupReads(filter)
}

// OnTopicsChanged registers f to be called after the set of first-level topics has changed. One call may stand for several changes.
func (m *Meta) OnTopicsChanged(f func()) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.topicsChanged = append(m.calls.topicsChanged, f)
}

// OnFilterLost registers f to be called after a registered filter has vanished: it was retired, or an operator removed it. Filters that
// Readers need are restored without it.
func (m *Meta) OnFilterLost(f func(filter string)) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.filterLost = append(m.calls.filterLost, f)
}

// OnNodeLost registers f to be called with the id of each node that was not heard from for Options.LostAfter. It is not called for a node
// that left cleanly; see OnNodeLeft. Every live node is told, usually once for each loss.
func (m *Meta) OnNodeLost(f func(node string)) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.nodeLost = append(m.calls.nodeLost, f)
}

// OnNodeLeft registers f to be called with the id of each node that has left cleanly, as soon as this node knows. The node may be about to
// be started again. f is not called for a node that had left before this one started, or that is back before this one has learned of it.
func (m *Meta) OnNodeLeft(f func(node string)) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.nodeLeft = append(m.calls.nodeLeft, f)
}

// OnBansChanged registers f to be called after Bans has changed. One call may stand for several changes. It is not called when a ban ends
// at its time.
func (m *Meta) OnBansChanged(f func()) {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.bansChanged = append(m.calls.bansChanged, f)
}
