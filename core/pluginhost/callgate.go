package pluginhost

import (
	"context"
	"sync"
)

// holding says which calls a gate holds.
type holding int

const (
	holdNothing holding = iota
	// holdWrites: calls that change metadata wait; others pass.
	holdWrites
	// holdAll: every call waits.
	holdAll
)

// callGate holds the calls of a plugin while a swap must not have any in progress. Held calls are not lost: once the gate opens, they
// proceed to the process that serves then.
type callGate struct {
	mu   sync.Mutex
	held holding
	// open is closed when the gate opens; nil while nothing is held.
	open chan struct{}
	// reads and writes count the calls in progress.
	reads, writes int
	// left is signalled when a call ends while calls are held.
	left chan struct{}
}

func newCallGate() *callGate { return &callGate{left: make(chan struct{}, 1)} }

// enter waits until a call may pass, and counts it. Unless it returns an error, the caller must call leave.
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

// hold closes the gate for the given calls and returns once none of them is in progress, or with an error when ctx ends first. In either
// case the caller must call release. Only one swap may hold at a time.
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

// release opens the gate. It does nothing if no calls are held.
func (g *callGate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = holdNothing
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}
