package storetest

import (
	"context"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// JudgeAppends lets fn decide about each append, which it may hold up for as long as it likes: an error fails the append, nil lets it
// begin. A nil fn ends that.
func (f *Faulty) JudgeAppends(fn func(ctx context.Context, m *store.Message) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.judge = fn
}

// Held is an append that is under way for as long as a test wants.
type Held struct {
	// Reached is closed once the append has begun.
	Reached chan struct{}
	outcome chan error
}

// Hold holds up the first append of a payload. Other appends, and those of the same payload that come later, are not held up.
func (f *Faulty) Hold(payload string) *Held {
	h := &Held{Reached: make(chan struct{}), outcome: make(chan error, 1)}
	var once sync.Once
	f.JudgeAppends(func(_ context.Context, m *store.Message) (err error) {
		if string(m.Payload) == payload {
			once.Do(func() {
				close(h.Reached)
				err = <-h.outcome
			})
		}
		return err
	})
	return h
}

// End fails the append with err, or lets it go on where err is nil.
func (h *Held) End(err error) { h.outcome <- err }
