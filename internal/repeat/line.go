package repeat

import (
	"sync"
	"time"
)

// Line rate-limits a log line that its caller writes, and counts the occurrences. The zero value is ready to use.
type Line struct {
	mu    sync.Mutex
	last  time.Time
	times int
}

// Due counts an occurrence and reports whether to log it now, at most once per every; times is the number of occurrences since the last one
// that was due, including this one.
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
