package mqtt

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt/websocket"
	"github.com/lmqgate/lmqgate/internal/buffers"
	"github.com/lmqgate/lmqgate/internal/socket"
)

const (
	// highWater is the buffer size at which the session of a connection stops sending, lowWater the size at which it resumes.
	// Acknowledgements may exceed highWater; at stopReading the client is no longer read. All in bytes.
	highWater   = 64 << 10
	lowWater    = 32 << 10
	stopReading = 256 << 10
	// lingerClose bounds how long a closing connection may take to write the rest, and the client to read it.
	lingerClose = 2 * time.Second
	// lingerBytes bounds how much input from the client is read and discarded while the connection closes.
	lingerBytes = 16 << 20
)

// corkSize is how many bytes are gathered before a write starts although more is to come.
const corkSize = 16 << 10

// outbox is the write side of a connection. A caller that adds to an empty outbox writes at once, as far as the kernel accepts the bytes
// without blocking. A goroutine writes the rest and ends when nothing is left, so an idle connection has neither a writer nor a buffer.
type outbox struct {
	nc  net.Conn
	now *socket.Writer
	// budget counts the buffered bytes of the whole node.
	budget *limits.Budget
	// due is the deadline by which the client must have taken a part of what the goroutine writes if others wait for memory, in Unix
	// nanoseconds; 0: the goroutine writes nothing.
	due     atomic.Int64
	stalled time.Duration // how long the client may take nothing
	sent    *traffic      // nil: nobody counts

	mu       sync.Mutex
	writable func()    // called without locks when a full outbox has room again
	room     sync.Cond // signalled when the buffer shrinks, and when closing begins
	buf      *[]byte   // nil when empty
	flushing bool
	corks    int // cork was called so much more often than uncork
	full     bool
	closing  bool   // nothing may be added any more; the socket is closed once the buffer is written
	ended    func() // called once, when closing begins; nil: nobody waits for that
	total    int64  // bytes of all packets
	lingers  bool   // after the last byte only our side is closed; linger does the rest
	drained  bool   // linger has begun
}

func (o *outbox) init(nc net.Conn, budget *limits.Budget, stalled time.Duration) {
	o.nc, o.budget, o.stalled = nc, budget, stalled
	o.now = socket.NewWriter(nc)
	o.room.L = &o.mu
}

// add appends what f encodes and writes it, unless the outbox is corked. It returns the size of the buffer after appending; ok is false if
// the connection is closing.
func (o *outbox) add(f func(b []byte) []byte) (size int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if size, ok = o.gather(f); ok && o.corks == 0 {
		o.write()
	}
	return size, ok
}

// cork makes add gather until uncork, for several packets that follow one another at once.
func (o *outbox) cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corks++
}

// uncork ends what cork began, and writes what was gathered.
func (o *outbox) uncork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corks--; o.corks == 0 {
		o.write()
	}
}

// gather is add without the write. A later flush or add writes; gather itself writes once corkSize is reached. Called with mu held.
func (o *outbox) gather(f func(b []byte) []byte) (size int, ok bool) {
	if o.closing {
		return 0, false
	}
	if size = o.append(f); size >= corkSize {
		o.write()
	}
	return size, true
}

// append puts what f encodes into the buffer and returns the buffer's size. Called with mu held.
func (o *outbox) append(f func(b []byte) []byte) (size int) {
	if o.buf == nil {
		o.buf = buffers.Get()
	}
	before := len(*o.buf)
	*o.buf = f(*o.buf)
	size = len(*o.buf)
	o.budget.Add(int64(size - before))
	o.total += int64(size - before)
	if o.sent != nil {
		o.sent.encoded((*o.buf)[before:])
	}
	if size >= highWater {
		o.full = true
	}
	return size
}

// flush writes what was gathered.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write()
}

// write starts writing the buffer unless a write is under way. Called with mu held; it may release mu for a moment.
func (o *outbox) write() {
	if o.flushing || o.buf == nil || len(*o.buf) == 0 {
		return
	}
	o.flushing = true
	if o.now == nil || o.full {
		go o.drain()
		return
	}
	b := o.buf
	o.buf = nil
	o.mu.Unlock()
	n, err := o.now.Write(*b)
	o.budget.Give(int64(n))
	o.mu.Lock()
	if err == nil && n == len(*b) {
		buffers.Put(b)
		if o.buf != nil && len(*o.buf) > 0 {
			go o.drain()
			return
		}
		o.done()
		return
	}
	rest := (*b)[:copy(*b, (*b)[n:])]
	if o.buf != nil {
		rest = append(rest, *o.buf...)
		buffers.Put(o.buf)
	}
	*b = rest
	o.buf = b
	go o.drain() // drain meets an error again and handles it
}

// done records that nothing is left to write. Called with mu held.
func (o *outbox) done() {
	o.flushing = false
	o.room.Broadcast()
	if o.buf != nil {
		buffers.Put(o.buf)
		o.buf = nil
	}
	if o.closing {
		o.finish()
	}
}

// close writes the rest and then closes the socket. Nothing can be added afterwards.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(nil)
}

// closeLocked is close with mu held. last, if not nil, encodes the last thing written. A second call does nothing.
func (o *outbox) closeLocked(last func(b []byte) []byte) {
	if o.closing {
		return
	}
	if last != nil {
		o.append(last)
	}
	_, half := o.nc.(halfCloser)
	_, shakes := o.nc.(*websocket.Conn) // the client's side of its closing handshake is waited for
	writes := o.flushing || o.buf != nil && len(*o.buf) > 0
	o.lingers = shakes || half && writes
	o.closing = true // before write, which may release mu
	o.end()
	o.write()
	switch {
	case o.flushing:
		_ = o.nc.SetWriteDeadline(time.Now().Add(lingerClose))
	case !o.lingers:
		_ = o.nc.Close()
	case !writes: // else done has called finish already
		o.finish()
	}
}

// closed reports whether close was called.
func (o *outbox) closed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing
}

// halfCloser is a connection that can close its sending side and still read.
type halfCloser interface{ CloseWrite() error }

// finish ends the stream to the client after everything is written. Called with mu held.
func (o *outbox) finish() {
	if w, ok := o.nc.(*websocket.Conn); ok && o.lingers {
		_ = o.nc.SetWriteDeadline(time.Now().Add(lingerClose))
		go func() { _ = w.CloseWrite() }() // in the background: the client may not be reading
		if !o.drained {
			_ = o.nc.SetReadDeadline(time.Unix(1, 0))
		}
		return
	}
	if half, ok := o.nc.(halfCloser); !ok || !o.lingers || half.CloseWrite() != nil {
		_ = o.nc.Close()
		return
	}
	if !o.drained {
		_ = o.nc.SetReadDeadline(time.Unix(1, 0)) // a reader that waits stops and goes on to linger
	}
}

// linger reads and discards what the client still sends after the end of our stream, until the client closes, so that the client can read
// our last bytes. Closing a socket with unread bytes resets the connection, and the client's system may then discard bytes that have
// already arrived. linger returns at once if nothing was sent at the end, and soon after ctx ends.
func (o *outbox) linger(ctx context.Context) {
	o.mu.Lock()
	o.drained = true
	lingers := o.lingers
	o.mu.Unlock()
	if !lingers {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.lingers = false
		if !o.flushing {
			_ = o.nc.Close()
		}
	})
	defer stop()
	_ = o.nc.SetReadDeadline(time.Now().Add(lingerClose))
	var rest io.Reader = o.nc
	if w, ok := o.nc.(*websocket.Conn); ok {
		rest = w.Remains()
	}
	_, _ = io.CopyN(io.Discard, rest, lingerBytes)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lingers = false
	if !o.flushing {
		_ = o.nc.Close()
	}
}

// abort closes the socket at once.
func (o *outbox) abort() {
	o.mu.Lock()
	o.closing = true
	o.end()
	o.mu.Unlock()
	_ = o.nc.Close()
}

// end tells everyone who waits that the connection is closing. Called with mu held.
func (o *outbox) end() {
	o.room.Broadcast()
	if o.ended != nil {
		o.ended()
		o.ended = nil
	}
}

// onClose registers f to be called, with locks held, when closing begins. It returns false if closing has begun already. nil removes the
// registration.
func (o *outbox) onClose(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = f
	return !o.closing
}

// drain writes until the buffer is empty.
func (o *outbox) drain() {
	for {
		o.mu.Lock()
		if o.buf == nil || len(*o.buf) == 0 {
			o.done()
			o.mu.Unlock()
			return
		}
		b := o.buf
		o.buf = nil
		o.mu.Unlock()
		err := o.writeParts(*b)
		o.budget.Give(int64(len(*b)))
		buffers.Put(b)
		if err != nil {
			o.abort()
		}
		o.wrote(err)
	}
}

// writeParts writes in parts of highWater bytes, so that the deadline moves on with each part.
func (o *outbox) writeParts(b []byte) (err error) {
	for len(b) > 0 && err == nil {
		n := min(len(b), highWater)
		o.due.Store(time.Now().Add(o.stalled).UnixNano())
		n, err = o.nc.Write(b[:n])
		b = b[n:]
	}
	o.due.Store(0)
	return err
}

// wrote wakes everyone who waits for room.
func (o *outbox) wrote(err error) {
	o.mu.Lock()
	if err != nil && o.buf != nil {
		o.budget.Give(int64(len(*o.buf)))
		*o.buf = (*o.buf)[:0]
	}
	size := 0
	if o.buf != nil {
		size = len(*o.buf)
	}
	tell := o.full && size < lowWater
	if tell {
		o.full = false
	}
	o.room.Broadcast()
	writable := o.writable
	o.mu.Unlock()
	if tell && writable != nil {
		writable()
	}
}

// waitRoom blocks while the client does not read what it was sent. While the node has no memory left, that is sooner.
func (o *outbox) waitRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closing && o.buf != nil && (len(*o.buf) >= stopReading || len(*o.buf) >= smallMessage && o.budget.Over()) {
		o.room.Wait()
	}
}
