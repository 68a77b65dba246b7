package pluginhost

import (
	"context"
	"sync"
)

// holding says which calls wait at a gate.
type holding int

const (
	holdNothing holding = iota
	// holdWrites: calls that change metadata wait; others pass.
	holdWrites
	// holdAll: every call waits.
	holdAll
)

// callGate makes the calls of a plugin wait while a swap must not have any under way. Calls that are held are not lost: they go
// on, to whichever process serves then, once the gate is open.
type callGate struct {
	mu   sync.Mutex
	held holding
	// open is closed when nothing is held any more; nil while nothing is.
	open chan struct{}
	// reads and writes are under way.
	reads, writes int
	// left is told of each call that ends while something is held.
	left chan struct{}
}

func newCallGate() *callGate { return &callGate{left: make(chan struct{}, 1)} }

// enter counts a call in, once it may pass. Without an error leave must follow.
func (g *callGate) enter(ctx context.Context, write bool) error {
	for {
		g.mu.Lock()
		if g.held == holdNothing || g.held == holdWrites && !write {
			if write {
				g.writes++
			} else {
				g.reads++
			}
			g.mu.Unlock()
			return nil
		}
		open := g.open
		g.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *callGate) leave(write bool) {
	g.mu.Lock()
	if write {
		g.writes--
	} else {
		g.reads--
	}
	held := g.held
	g.mu.Unlock()
	if held != holdNothing {
		select {
		case g.left <- struct{}{}:
		default:
		}
	}
}

// hold makes calls wait and returns when none of their kind is under way any more, or with an error when ctx ends first.
// Either way release must follow. Only one swap holds at a time.
func (g *callGate) hold(ctx context.Context, what holding) error {
	g.mu.Lock()
	g.held = what
	if g.open == nil {
		g.open = make(chan struct{})
	}
	g.mu.Unlock()
	for {
		g.mu.Lock()
		busy := g.writes
		if what == holdAll {
			busy += g.reads
		}
		g.mu.Unlock()
		if busy == 0 {
			return nil
		}
		select {
		case <-g.left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// release lets the calls that wait go on. It does nothing where none are held.
func (g *callGate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = holdNothing
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}
