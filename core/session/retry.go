package session

import (
	"context"
	"time"
)

const (
	// retryDelay is the first pause before a retry, retryMost the longest.
	retryDelay = 500 * time.Millisecond
	retryMost  = 10 * time.Second
)

// retry calls f until it returns nil or the manager closes. It pauses before each call; the pauses double up to retryMost. timeout bounds
// each call.
func (m *Manager) retry(pause, timeout time.Duration, f func(ctx context.Context) error) {
	for ; ; pause = min(2*pause, retryMost) {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(m.ctx, timeout)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
	}
}

// readAgain schedules another read of a feed after a failed one.
func (s *Session) readAgain(f *feed) {
	time.AfterFunc(retryDelay, func() { s.feedReady(f) })
}
