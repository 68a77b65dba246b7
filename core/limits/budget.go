package limits

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Budget is a shared amount of memory, in bytes. Requests are granted while there is room: those of one party in order, and the parties in
// turn. A request larger than the whole budget is granted alone.
//
// Large requests leave a part of the budget to small ones. A small request may pass large ones that wait, until as many bytes have passed
// the first of them as it asks for itself. So who holds the budget with large messages delays no small ones, and small ones cannot keep a
// large one waiting for ever.
type Budget struct {
	whole atomic.Int64
	tight func() bool // the process is short of memory: the budget shrinks to a sixteenth
	used  atomic.Int64
	queue atomic.Int32 // how many requests wait, readable without mu

	mu      sync.Mutex
	parties map[string]*party // those that wait
	turn    []*party          // the same; the first is next
	small   int               // how many of the waiting requests are small
}

// party is one of those that share a budget, such as an identity, while it waits.
type party struct {
	name    string
	waiting []*request // in order
}

// request waits for room. A request with bytes takes them when it is granted; one without is only told that there is room.
type request struct {
	from    string
	bytes   int64
	granted func()
	passed  int64 // bytes of the requests that passed it while it was the first
}

const (
	// smallRequest is the size up to which a request is small, in bytes.
	smallRequest = 16 << 10
	// smallShare is the part of a budget, one in so many, that only small requests may take.
	smallShare = 8
)

// NewBudget makes a Budget. tight may be nil.
func NewBudget(whole int64, tight func() bool) *Budget {
	if tight == nil {
		tight = func() bool { return false }
	}
	b := &Budget{tight: tight, parties: make(map[string]*party)}
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

// Try takes bytes unless there is no room for them, or someone waits whom they may not pass. It reports whether it did.
func (b *Budget) Try(bytes int64) bool {
	if b.queue.Load() == 0 {
		return b.try(bytes)
	}
	if bytes > smallRequest {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.turn) == 0 {
		return b.try(bytes)
	}
	return b.small == 0 && b.passFirst(bytes)
}

// passFirst takes bytes if they may pass the first that waits, which is large, and there is room for them. Called with mu held.
func (b *Budget) passFirst(bytes int64) bool {
	first := b.turn[0].waiting[0]
	if first.passed+bytes > first.bytes || !b.try(bytes) {
		return false
	}
	first.passed += bytes
	return true
}

// isSmall reports whether the request is small. One without bytes is.
func (r *request) isSmall() bool { return r.bytes <= smallRequest }

func (b *Budget) try(bytes int64) bool {
	size := b.size()
	if bytes > smallRequest {
		size -= size / smallShare
	}
	for {
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

// Take waits for room and takes bytes. from names the party that they are for.
func (b *Budget) Take(ctx context.Context, from string, bytes int64) error {
	if b.Try(bytes) {
		return nil
	}
	granted := make(chan struct{})
	r := &request{from: from, bytes: bytes, granted: func() { close(granted) }}
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
	p := b.parties[r.from]
	if p == nil {
		p = &party{name: r.from}
		b.parties[p.name], b.turn = p, append(b.turn, p)
	}
	p.waiting = append(p.waiting, r)
	b.queue.Add(1)
	if r.isSmall() {
		b.small++
	}
	b.grant()
}

// withdraw withdraws a request; it returns false if the request was granted.
func (b *Budget) withdraw(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parties[r.from]
	if p == nil {
		return false
	}
	i := slices.Index(p.waiting, r)
	if i < 0 {
		return false
	}
	b.remove(p, i)
	b.grant()
	return true
}

// remove takes a request out of those that wait. Called with mu held.
func (b *Budget) remove(p *party, i int) *request {
	r := p.waiting[i]
	if i == 0 { // the usual case, and there may be thousands
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
	} else {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	if len(p.waiting) == 0 {
		delete(b.parties, p.name)
		if b.turn[0] == p { // the usual case, too
			b.turn = b.turn[1:]
		} else {
			b.turn = slices.DeleteFunc(b.turn, func(q *party) bool { return q == p })
		}
	}
	b.queue.Add(-1)
	if r.isSmall() {
		b.small--
	}
	return r
}

// grant grants waiting requests, in turn, as long as there is room, and then the small ones that may pass the first. Called with mu held.
func (b *Budget) grant() {
	for len(b.turn) > 0 {
		p := b.turn[0]
		if r := p.waiting[0]; r.bytes > 0 && !b.try(r.bytes) || r.bytes == 0 && b.Over() {
			break
		}
		r := b.remove(p, 0)
		if len(p.waiting) > 0 {
			b.turn = append(b.turn[1:], p)
		}
		r.granted()
	}
	for b.small > 0 {
		p, i := b.firstSmall()
		if r := p.waiting[i]; r == b.turn[0].waiting[0] || r.bytes == 0 || !b.passFirst(r.bytes) {
			return
		}
		b.remove(p, i).granted()
	}
}

// firstSmall returns where the next small request waits. Called with mu held; there must be one.
func (b *Budget) firstSmall() (*party, int) {
	for _, p := range b.turn {
		if i := slices.IndexFunc(p.waiting, (*request).isSmall); i >= 0 {
			return p, i
		}
	}
	panic("limits: no small request waits")
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
