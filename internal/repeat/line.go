package repeat

import (
	"sync"
	"time"
)

// Line is a line for the log that its caller writes: due now and then, with how often it would have been. The zero value is ready.
type Line struct {
	mu    sync.Mutex
	last  time.Time
	times int
}

// Due counts an occurrence and says whether it is to be told now, at most once in a while; times is how often it occurred since the
// last that was told, this one included.
func (l *Line) Due(every time.Duration) (times int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times++
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < every {
		return l.times, false
	}
	times, l.last, l.times = l.times, now, 0
	return times, true
}
