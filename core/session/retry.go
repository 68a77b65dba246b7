package session

import (
	"context"
	"time"
)

const (
	// retryDelay is how long something that failed waits before it is tried again; retryMost is how long that may grow.
	retryDelay = 500 * time.Millisecond
	retryMost  = 10 * time.Second
)

// retry calls f again and again, at first after a pause, then with longer ones between, until it returns nil or the manager
// closes. Each call has a time.
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

// readAgain makes the pump read a feed once more, a moment after a read that failed.
func (s *Session) readAgain(f *feed) {
	time.AfterFunc(retryDelay, func() { s.feedReady(f) })
}
