package session

import (
	"sync"
	"sync/atomic"
)

// gate counts goroutines that may begin at any time, until it is shut. (A sync.WaitGroup may not be added to while it is waited
// for.)
type gate struct {
	n    atomic.Int64
	once sync.Once
	none chan struct{}
}

const shut = -1 << 62

func newGate() *gate { return &gate{none: make(chan struct{})} }

// enter counts one more; it returns false when the gate is shut.
func (g *gate) enter() bool {
	if g.n.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.n.Add(-1) == shut {
		g.once.Do(func() { close(g.none) })
	}
}

// wait shuts the gate and waits until all have left. It is called once.
func (g *gate) wait() {
	if g.n.Add(shut) == shut {
		g.once.Do(func() { close(g.none) })
	}
	<-g.none
}
