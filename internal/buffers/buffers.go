// Package buffers is a pool of byte buffers for what is written to connections.
package buffers

import "sync"

// largest is the largest buffer that the pool keeps, in bytes.
const largest = 128 << 10

var pool = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Get returns an empty buffer.
func Get() *[]byte { return pool.Get().(*[]byte) } //nolint:forcetypeassert // the pool holds nothing else

// Put gives a buffer back. A buffer over 128 KiB is left to the garbage collector.
func Put(b *[]byte) {
	if cap(*b) <= largest {
		*b = (*b)[:0]
		pool.Put(b)
	}
}
