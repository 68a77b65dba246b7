package session

import (
	"sync"
	"sync/atomic"
)

// running counts goroutines that may begin at any time, until it is shut: goroutines of a Manager, which begin with a record or a packet, until it closes. (A sync.WaitGroup may not be added to while it is waited
// for.)
type running struct {
	n    atomic.Int64
	once sync.Once
	none chan struct{}
}

const shut = -1 << 62

func newRunning() *running { return &running{none: make(chan struct{})} }

// enter counts one more; it returns false when it is shut.
func (r *running) enter() bool {
	if r.n.Add(1) > 0 {
		return true
	}
	r.leave()
	return false
}

func (r *running) leave() {
	if r.n.Add(-1) == shut {
		r.once.Do(func() { close(r.none) })
	}
}

// wait shuts it and waits until all have left. It is called once.
func (r *running) wait() {
	if r.n.Add(shut) == shut {
		r.once.Do(func() { close(r.none) })
	}
	<-r.none
}
