package pluginhost

import (
	"sync"
	"time"
)

const (
	// breakerFailures is how many calls in a row may run into their deadline before calls are suspended.
	breakerFailures = 5
	// breakerLongest bounds the suspension.
	breakerLongest = 10 * time.Second
)

// breaker is a circuit breaker for calls to a plugin that hangs: callers fail at once instead of piling up. After a while it lets one trial
// call through; the outcome closes the breaker or keeps it open for twice the time. A plugin that answers some calls in time is not
// considered hung.
type breaker struct {
	first time.Duration

	mu       sync.Mutex
	answered time.Time // time of the last answer
	failures int
	open     time.Duration
	until    time.Time
	probing  bool
}

func newBreaker(first time.Duration) *breaker { return &breaker{first: first, open: first} }

// allow reports whether a call may proceed. The caller must report the outcome of an allowed call by success, failure or neutral.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return true
	}
	if b.probing || time.Now().Before(b.until) {
		return false
	}
	b.probing = true
	return true
}

// isOpen reports whether calls are suspended.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakerFailures
}

func (b *breaker) success() { b.reset() }

// neutral records an outcome that says nothing about whether the plugin hangs.
func (b *breaker) neutral() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// failure records that a call that began at a time ran into its deadline. If another call was answered since then, the plugin is busy and
// does not hang: suspending calls would not shorten the queue.
func (b *breaker) failure(began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answered.After(began) {
		b.probing = false
		return
	}
	b.failures++
	if b.failures < breakerFailures {
		return
	}
	if b.probing {
		b.open = min(2*b.open, breakerLongest)
	}
	b.probing = false
	b.until = time.Now().Add(b.open)
}

func (b *breaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.open, b.probing, b.answered = 0, b.first, false, time.Now()
}
