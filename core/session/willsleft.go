package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// Wills that other processes have left behind: earlier ones of this node, nodes that were lost, and nodes that left and do not come back.

// listPause is the first pause before another attempt to list wills; listTimeout bounds each attempt.
const (
	listPause   = 5 * time.Second
	listTimeout = time.Minute
)

// recoverWills publishes the wills left by an earlier process of this node, or by a node that is gone, whose clients do not come back
// within WillGrace.
func (m *Manager) recoverWills() {
	defer m.wg.Done()
	select {
	case <-m.ctx.Done():
		return
	case <-time.After(m.o.WillGrace):
	}
	m.publishWillsOf(func(w *meta.Will) bool {
		return w.Message.Created.Before(m.started) && (w.Node == m.o.NodeID || m.gone(w.Node))
	})
}

// NodeLost publishes the wills of a lost node. The metadata reports the loss; NodeLost then waits until the node is no member of the
// cluster either, because a node that is cut off from the metadata alone keeps its connections.
func (m *Manager) NodeLost(node string) {
	if node == m.o.NodeID {
		return
	}
	m.run(func() { m.publishWillsWithout(node) })
}

// NodeLeft publishes the wills of a node that has left cleanly, and of its clients that do not come back within WillGrace, if no other
// process of the node has started by then: that one would publish them itself.
func (m *Manager) NodeLeft(node string) {
	if node == m.o.NodeID {
		return
	}
	m.disinherit(node)
	m.mu.Lock()
	m.departures++
	latest := m.departures
	m.left[node] = latest
	m.mu.Unlock()
	m.run(func() {
		if wait.For(m.ctx, m.o.WillGrace) != nil {
			return
		}
		m.mu.Lock()
		again := m.left[node] != latest // it came back, and has left once more
		if !again {
			delete(m.left, node)
		}
		m.mu.Unlock()
		if !again && !m.isAlive(node) {
			m.log.Info("a node that left is not back; its clients' wills are published here", "node", node)
			m.publishWillsWithout(node)
		}
	})
}

// publishWillsWithout publishes the wills of a node that the metadata does not list, unless the node comes back.
func (m *Manager) publishWillsWithout(node string) {
	for m.member(node) {
		if wait.For(m.ctx, memberPause) != nil || m.isAlive(node) {
			return
		}
	}
	// Every live node runs this code. Each client's will is published by the node that decides about its client id. If that node is lost
	// too, or the nodes disagree about which node decides, the wills are still there after othersPause, and any node publishes them.
	m.publishWillsOf(func(w *meta.Will) bool { return w.Node == node && m.o.Cluster.Decides(w.ClientID) })
	if wait.For(m.ctx, othersPause) != nil || m.isAlive(node) {
		return
	}
	m.publishWillsOf(func(w *meta.Will) bool { return w.Node == node })
}

// isAlive reports whether the metadata lists a node.
func (m *Manager) isAlive(node string) bool { return m.o.Alive != nil && m.o.Alive(node) }

// othersPause is how long a node leaves the other nodes to publish the wills that are theirs.
const othersPause = 15 * time.Second

// memberPause is the interval between two looks whether a lost node is still a member.
const memberPause = time.Second

// member reports whether a node is a member of the cluster, whatever the metadata says.
func (m *Manager) member(node string) bool {
	return slices.Contains(m.o.Cluster.Members(), node)
}

func (m *Manager) publishWillsOf(match func(*meta.Will) bool) {
	var due []*meta.Will
	list := func(ctx context.Context) error {
		due = due[:0]
		err := m.o.Meta.EachWill(ctx, func(w *meta.Will) error {
			if match(w) {
				due = append(due, w)
			}
			return nil
		})
		if err != nil {
			m.log.Warn("listing wills failed; trying again", "error", err)
		}
		return err
	}
	if list(m.ctx) != nil {
		m.retry(listPause, listTimeout, list)
	}
	// Several wills are judged at a time, because each of them waits while the judge does not answer.
	var wg sync.WaitGroup
	defer wg.Wait()
	limit := make(chan struct{}, willsParallel)
	for _, w := range due {
		limit <- struct{}{}
		if m.ctx.Err() != nil {
			return
		}
		wg.Go(func() {
			defer func() { <-limit }()
			m.publishLeft(w)
		})
	}
}

// willsParallel bounds how many wills left by other processes are published at the same time.
const willsParallel = 16

// publishLeft publishes a will that another process left, once it is due, unless its client has come back since the will was listed.
func (m *Manager) publishLeft(w *meta.Will) {
	will := m.recorded(w)
	if will == nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, willTimeout)
	back, _ := m.isBack(ctx, w.ClientID, will)
	cancel()
	switch {
	case back:
	case min(w.Delay, w.SessionExpiry) > 0:
		m.willDue(w.ClientID, will, w.SessionExpiry)
	default:
		m.publishWill(w.ClientID, will)
	}
}

// gone reports whether another node is lost as far as this node knows: neither the metadata nor the cluster hears from it.
func (m *Manager) gone(node string) bool {
	return m.o.Alive != nil && !m.o.Alive(node) && !m.member(node)
}

// recorded makes a Will from its record. If the record cannot be read, it logs that and returns nil.
func (m *Manager) recorded(w *meta.Will) *Will {
	by, err := auth.Recorded(w.By)
	if err != nil {
		m.log.Warn("a will is not published: whose it is cannot be read", "client", w.ClientID, "error", err)
		return nil
	}
	return &Will{Message: w.Message, Delay: w.Delay, By: by}
}

// publishRecorded publishes a recorded will now.
func (m *Manager) publishRecorded(w *meta.Will) {
	if will := m.recorded(w); will != nil {
		m.publishWill(w.ClientID, will)
	}
}
