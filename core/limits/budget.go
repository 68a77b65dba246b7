package limits

import (
	"context"
	"sync"
	"sync/atomic"
)

// Budget is a shared amount of memory, in bytes. Requests are granted in order while there is room. A request larger than the whole budget
// is granted alone.
type Budget struct {
	whole atomic.Int64
	tight func() bool // the process is short of memory: the budget shrinks to a sixteenth
	used  atomic.Int64
	queue atomic.Int32 // len(waiting), readable without mu

	mu      sync.Mutex
	waiting []*request
}

// request waits for room. A request with bytes takes them when it is granted; one without is only told that there is room.
type request struct {
	bytes   int64
	granted func()
}

// NewBudget makes a Budget. tight may be nil.
func NewBudget(whole int64, tight func() bool) *Budget {
	if tight == nil {
		tight = func() bool { return false }
	}
	b := &Budget{tight: tight}
	b.whole.Store(whole)
	return b
}

// Whole returns the size of the budget.
func (b *Budget) Whole() int64 { return b.whole.Load() }

// SetWhole changes the size. Bytes already taken stay taken.
func (b *Budget) SetWhole(whole int64) {
	b.whole.Store(whole)
	b.Look()
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 { return b.used.Load() }

// size returns how many bytes may be taken now.
func (b *Budget) size() int64 {
	if b.tight() {
		return b.whole.Load() / 16
	}
	return b.whole.Load()
}

// Over reports whether nothing is left.
func (b *Budget) Over() bool { return b.used.Load() >= b.size() }

// Try takes bytes unless someone waits or there is no room for them. It reports whether it did.
func (b *Budget) Try(bytes int64) bool { return b.queue.Load() == 0 && b.try(bytes) }

func (b *Budget) try(bytes int64) bool {
	for size := b.size(); ; {
		used := b.used.Load()
		if used > 0 && used+bytes > size {
			return false
		}
		if b.used.CompareAndSwap(used, used+bytes) {
			return true
		}
	}
}

// Add takes bytes even if there is no room.
func (b *Budget) Add(bytes int64) { b.used.Add(bytes) }

// Take waits for room and takes bytes.
func (b *Budget) Take(ctx context.Context, bytes int64) error {
	if b.Try(bytes) {
		return nil
	}
	granted := make(chan struct{})
	r := &request{bytes: bytes, granted: func() { close(granted) }}
	b.ask(r)
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	if !b.withdraw(r) {
		b.Give(bytes) // granted meanwhile
	}
	return ctx.Err()
}

// Tell calls f in a goroutine of its own once there is room. It takes nothing.
func (b *Budget) Tell(f func()) { b.ask(&request{granted: func() { go f() }}) }

func (b *Budget) ask(r *request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, r)
	b.queue.Store(int32(len(b.waiting)))
	b.grant()
}

// withdraw withdraws a request; it returns false if the request was granted.
func (b *Budget) withdraw(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.waiting {
		if w == r {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.queue.Store(int32(len(b.waiting)))
			b.grant()
			return true
		}
	}
	return false
}

// grant grants waiting requests, in order, as long as there is room. Called with mu held.
func (b *Budget) grant() {
	for len(b.waiting) > 0 {
		r := b.waiting[0]
		if r.bytes > 0 && !b.try(r.bytes) || r.bytes == 0 && b.Over() {
			return
		}
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
		b.queue.Store(int32(len(b.waiting)))
		r.granted()
	}
	b.waiting = nil
}

// Give gives bytes back.
func (b *Budget) Give(bytes int64) {
	b.used.Add(-bytes)
	if b.queue.Load() > 0 {
		b.Look()
	}
}

// Look grants waiting requests after something other than Give has made room.
func (b *Budget) Look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grant()
}

// Waiting returns the number of waiting requests.
func (b *Budget) Waiting() int { return int(b.queue.Load()) }
