package storetest

import (
	"context"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// JudgeAppends makes fn decide about each append. fn may block for as long as it likes. An error fails the append; nil lets it start. A nil
// fn ends that.
func (f *Faulty) JudgeAppends(fn func(ctx context.Context, m *store.Message) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.judge = fn
}

// Held is an append that is blocked until the test ends it.
type Held struct {
	// Reached is closed once the append has started.
	Reached chan struct{}
	outcome chan error
}

// Hold blocks the first append of a payload. Other appends, and later ones of the same payload, are not blocked.
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

// End fails the append with err, or lets it continue if err is nil.
func (h *Held) End(err error) { h.outcome <- err }
