package limits

import (
	"context"
	"sync"
	"sync/atomic"
)

// Account is one client's part of a Budget, with a bound of its own. Only one goroutine may take from it; any goroutine may give back.
type Account struct {
	b     *Budget
	from  string
	bound atomic.Int64
	used  atomic.Int64
	waits atomic.Bool

	mu   sync.Mutex
	room chan struct{} // closed when bytes are given back; created by a waiting Take
}

// Init opens the account. It must be called before the other methods.
func (a *Account) Init(b *Budget, bound int64) {
	a.b = b
	a.bound.Store(bound)
}

// For names the party of the budget that the client belongs to from now on. Only the goroutine that takes may call it.
func (a *Account) For(party string) { a.from = party }

// SetBound changes the bound for later calls of Try and Take.
func (a *Account) SetBound(bound int64) { a.bound.Store(bound) }

// Used returns how many bytes the client holds.
func (a *Account) Used() int64 { return a.used.Load() }

// Try takes bytes if that needs no waiting, and reports whether it did.
func (a *Account) Try(bytes int64) bool {
	if a.full(bytes) || !a.b.Try(bytes) {
		return false
	}
	a.used.Add(bytes)
	return true
}

// Take waits until the client and the budget have room, and takes bytes. A client that holds nothing gets any amount, once the budget
// grants it.
func (a *Account) Take(ctx context.Context, bytes int64) error {
	for a.full(bytes) {
		a.mu.Lock()
		a.room = make(chan struct{})
		room := a.room
		a.mu.Unlock()
		a.waits.Store(true)
		if !a.full(bytes) { // bytes were given back before anyone could know that we wait
			break
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := a.b.Take(ctx, a.from, bytes); err != nil {
		return err
	}
	a.used.Add(bytes)
	return nil
}

func (a *Account) full(bytes int64) bool {
	used := a.used.Load()
	return used > 0 && used+bytes > a.bound.Load()
}

// Give gives bytes back.
func (a *Account) Give(bytes int64) {
	if bytes == 0 {
		return
	}
	a.used.Add(-bytes)
	a.b.Give(bytes)
	if !a.waits.Swap(false) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.room != nil {
		close(a.room)
		a.room = nil
	}
}
