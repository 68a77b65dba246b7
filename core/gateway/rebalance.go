package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
)

// nodeState is what a node reports about itself to the others.
type nodeState struct {
	Version     string    `json:"version"`
	Started     time.Time `json:"started"`
	State       string    `json:"state"` // as in admin.Node
	Connections int       `json:"connections"`
}

const (
	stateReady    = "ready"
	stateDraining = "draining"
	stateWaiting  = "waiting"
)

// state describes this node for the others.
func (b *backend) state() nodeState {
	s := nodeState{Version: b.g.version, Started: b.g.started, State: stateReady, Connections: b.g.sessions.Online()}
	select {
	case <-b.g.drains.asked:
		s.State = stateDraining
	default:
		if b.g.healthy() != nil {
			s.State = stateWaiting
		}
	}
	return s
}

// surplus tells a node how many clients to keep, and how many others to send away per second.
type surplus struct {
	Keep int `json:"keep"`
	Rate int `json:"rate"`
}

// rebalances tracks the rebalancing of this node. There is at most one at a time.
type rebalances struct {
	mu     sync.Mutex
	busy   bool
	closed bool
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// begin runs f in a goroutine unless a rebalancing is under way. It reports whether it did.
func (r *rebalances) begin(f func(ctx context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy || r.closed {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.busy, r.cancel = true, cancel
	r.done.Go(func() {
		defer cancel()
		f(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.busy = false
	})
	return true
}

// stop ends a rebalancing under way and prevents later ones.
func (r *rebalances) stop() {
	r.mu.Lock()
	r.closed = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.done.Wait()
}

// Rebalance makes nodes send their surplus clients to the others.
func (b *backend) Rebalance(ctx context.Context, r admin.RebalanceRequest) (admin.Rebalanced, error) {
	var out admin.Rebalanced
	nodes, missing := ask[nodeState](ctx, b.g.cluster, askNode, nil)
	nodes = append(nodes, answered[nodeState]{b.g.id, b.state()})
	out.Unanswered = missing
	moves, err := planMoves(r, nodes, missing)
	for _, move := range moves {
		s := surplus{Keep: move.Keep, Rate: r.Rate}
		if move.Node == b.g.id {
			done, failed := b.rebalanceHere(s)
			if failed != nil {
				return out, failed
			}
			out.Moves = append(out.Moves, done)
			continue
		}
		done, failed := ask[admin.Move](ctx, b.g.cluster, askRebalance, s, move.Node)
		for _, d := range done {
			out.Moves = append(out.Moves, d.what)
		}
		out.Unanswered = append(out.Unanswered, failed...)
	}
	return out, err
}

// planMoves decides how many clients each node sends away, the node with the largest number first.
func planMoves(r admin.RebalanceRequest, nodes []answered[nodeState], missing []admin.Unanswered) ([]admin.Move, error) {
	ready, total, names := 0, 0, []string(nil)
	for _, n := range nodes {
		names = append(names, n.node)
		if n.what.State == stateReady {
			ready++
			total += n.what.Connections
		}
	}
	if r.Node != "" && !slices.Contains(names, r.Node) {
		for _, m := range missing {
			if m.Node == r.Node {
				return nil, admin.Conflict("node %q does not answer: %s", r.Node, m.Error)
			}
		}
		slices.Sort(names)
		return nil, fmt.Errorf("%w: there is no node %q; there are %s", admin.ErrNotFound, r.Node, strings.Join(names, ", "))
	}
	if ready < 2 {
		return nil, admin.Conflict("there is no other node that is ready to take clients")
	}
	keep := r.Keep
	if keep < 0 {
		keep = (total + ready - 1) / ready
	}
	var moves []admin.Move
	for _, n := range nodes {
		have := n.what.Connections
		if (r.Node == "" || r.Node == n.node) && n.what.State == stateReady && have > keep {
			moves = append(moves, admin.Move{Node: n.node, Connections: have, Keep: keep, Moves: have - keep})
		}
	}
	slices.SortFunc(moves, func(a, b admin.Move) int { return b.Moves - a.Moves })
	return moves, nil
}

// rebalanceHere starts sending clients of this node to the others.
func (b *backend) rebalanceHere(s surplus) (admin.Move, error) {
	g := b.g
	move := admin.Move{Node: g.id, Connections: g.sessions.Online(), Keep: s.Keep}
	move.Moves = max(0, move.Connections-s.Keep)
	if s.Rate < 1 {
		return move, fmt.Errorf("%w: a rate of %d clients a second", admin.ErrInvalid, s.Rate)
	}
	if b.state().State == stateDraining {
		return move, admin.Conflict("node %q is being drained", g.id)
	}
	if !g.rebalances.begin(func(ctx context.Context) {
		g.log.Info("rebalancing: sending clients to the other nodes", "connections", move.Connections, "keep", s.Keep, "rate", s.Rate)
		moved := g.sessions.Rebalance(ctx, s.Keep, float64(s.Rate))
		g.log.Info("rebalancing is over", "moved", moved, "connections", g.sessions.Online())
	}) {
		return move, admin.Conflict("node %q is being rebalanced already", g.id)
	}
	return move, nil
}
