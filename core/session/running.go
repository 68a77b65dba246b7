package session

import (
	"sync"
	"sync/atomic"
)

// running counts a Manager's goroutines, which may start at any time with a record or a packet, until the Manager closes. (A sync.WaitGroup
// does not allow Add from zero concurrently with Wait.)
type running struct {
	n    atomic.Int64
	once sync.Once
	none chan struct{}
}

const shut = -1 << 62

func newRunning() *running { return &running{none: make(chan struct{})} }

// enter counts one more goroutine. It returns false once running is shut.
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

// wait shuts running and waits until all goroutines have left. It must be called only once.
func (r *running) wait() {
	if r.n.Add(shut) == shut {
		r.once.Do(func() { close(r.none) })
	}
	<-r.none
}
