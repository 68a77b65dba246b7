package mqtt

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// connectMemory is the default of Options.ConnectMemory, in bytes.
const connectMemory = 16 << 20

// budget is the node's memory for CONNECT packets over 16 KiB whose clients are not admitted yet. A CONNECT may be large (a will, a
// password), but strangers send it: what exceeds the budget stays in the sockets until there is room.
type budget struct {
	mu      sync.Mutex
	left    int64
	whole   int64
	waiting []*share // in order of arrival
}

// share is one connection's part of a budget.
type share struct {
	bytes, wants int64
	granted      chan struct{}
}

// set sets the size of the budget; 0 bytes stands for connectMemory. Connections keep the shares that they hold.
func (b *budget) set(bytes int64) {
	if bytes <= 0 {
		bytes = connectMemory
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += bytes - b.whole
	b.whole = bytes
	for _, s := range b.waiting { // a share must not wait for more than the whole budget
		s.wants = min(s.wants, max(0, bytes-s.bytes))
	}
	b.next()
}

// take waits for room. A share that already holds some memory asks only for the rest.
func (b *budget) take(ctx context.Context, s *share, bytes int64) error {
	b.mu.Lock()
	bytes = min(bytes, b.whole)
	if bytes <= s.bytes {
		b.mu.Unlock()
		return nil
	}
	if s.wants = bytes - s.bytes; len(b.waiting) == 0 && s.wants <= b.left {
		b.grant(s)
		b.mu.Unlock()
		return nil
	}
	s.granted = make(chan struct{})
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()
	select {
	case <-s.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.waiting {
		if w == s {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.next()
			return ctx.Err()
		}
	}
	return nil // granted meanwhile
}

func (b *budget) grant(s *share) {
	b.left -= s.wants
	s.bytes += s.wants
	s.wants = 0
}

// next grants waiting shares, in order, as long as there is room. Called with mu held.
func (b *budget) next() {
	for len(b.waiting) > 0 && b.waiting[0].wants <= b.left {
		s := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.grant(s)
		close(s.granted)
	}
}

// give gives a share back.
func (b *budget) give(s *share) {
	if s.bytes == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += s.bytes
	s.bytes = 0
	b.next()
}

// reserve waits for the memory of a large packet from a client that is not admitted yet, within the time that the client has left.
func (c *conn) reserve(n int) error {
	ctx, cancel := context.WithDeadline(c.srv.ctx, c.begun.Add(exchangeTimeouts*c.srv.o.ConnectTimeout))
	defer cancel()
	begun := time.Now()
	err := c.srv.connect.take(ctx, &c.memory, int64(n))
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	if waited := time.Since(begun); err == nil && waited > time.Millisecond {
		// The wait is not the client's fault: give it the full time again.
		return c.nc.SetReadDeadline(time.Now().Add(c.srv.o.ConnectTimeout))
	}
	return err
}

// unreserve gives the memory back, because the client is admitted or refused.
func (c *conn) unreserve() {
	c.reader.Large = nil
	c.srv.connect.give(&c.memory)
}
