package mqtt

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/internal/socket"
)

const (
	// highWater is the size of a connection's buffer at which its session stops sending, and lowWater the one at which it
	// goes on. Acknowledgements may go above it; at stopReading the client is not read further.
	highWater   = 64 << 10
	lowWater    = 32 << 10
	stopReading = 256 << 10
	// keepBuffer is the largest buffer that goes back to the pool.
	keepBuffer = 128 << 10
	// lingerClose bounds how long a connection that is being closed may take to write what is left, and the client to read it.
	lingerClose = 2 * time.Second
	// lingerBytes is how much of what the client still sends meanwhile is read and thrown away.
	lingerBytes = 16 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// corkSize is how much is gathered before a write begins although more is to come.
const corkSize = 16 << 10

// outbox is the write side of a connection. Who puts something into an empty one writes it at once, as far as the kernel takes
// it without waiting; a goroutine writes what is left, while there is something left, so an idle connection has neither a writer
// nor a buffer.
type outbox struct {
	nc  net.Conn
	now *socket.Writer
	// budget counts what is in buffers, of the node.
	budget *limits.Budget
	// due is when the client is to have taken a part of what the goroutine writes if others wait for memory, in Unix nanoseconds; 0 where
	// it writes nothing.
	due     atomic.Int64
	stalled time.Duration // how long it may take nothing
	sent    *traffic      // nil: nobody counts

	mu       sync.Mutex
	writable func()    // called without locks when a full outbox has room again
	room     sync.Cond // signalled when the buffer shrinks, and at the end
	buf      *[]byte   // nil when empty
	flushing bool
	full     bool
	closing  bool   // nothing may be added any more; the socket is closed once the buffer is written
	ended    func() // called once, when closing begins; nil: nobody waits for it
	lingers  bool   // after the last byte only our side is closed, and linger does the rest
	drained  bool   // linger has begun
}

func (o *outbox) init(nc net.Conn, budget *limits.Budget, stalled time.Duration) {
	o.nc, o.budget, o.stalled = nc, budget, stalled
	o.now = socket.NewWriter(nc)
	o.room.L = &o.mu
}

// add appends what f encodes, has it written, and reports the buffer's size before that; ok is false when the connection is closing.
func (o *outbox) add(f func(b []byte) []byte) (size int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if size, ok = o.gather(f); ok {
		o.write()
	}
	return size, ok
}

// gather is add without the write, which flush or another add begins, or gather itself when there is much. Called with mu held.
func (o *outbox) gather(f func(b []byte) []byte) (size int, ok bool) {
	if o.closing {
		return 0, false
	}
	if size = o.append(f); size >= corkSize {
		o.write()
	}
	return size, true
}

// append puts what f encodes into the buffer. Called with mu held.
func (o *outbox) append(f func(b []byte) []byte) (size int) {
	if o.buf == nil {
		o.buf = buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	}
	before := len(*o.buf)
	*o.buf = f(*o.buf)
	size = len(*o.buf)
	o.budget.Add(int64(size - before))
	if o.sent != nil {
		o.sent.encoded((*o.buf)[before:])
	}
	if size >= highWater {
		o.full = true
	}
	return size
}

// flush has written what was gathered.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write()
}

// write begins to write the buffer, unless somebody does already. Called with mu held; it may let go of it for a moment.
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
		recycle(b)
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
		recycle(o.buf)
	}
	*b = rest
	o.buf = b
	go o.drain() // an error comes again there
}

// done notes that nothing is left to write. Called with mu held.
func (o *outbox) done() {
	o.flushing = false
	if o.buf != nil {
		recycle(o.buf)
		o.buf = nil
	}
	if o.closing {
		o.finish()
	}
}

func recycle(b *[]byte) {
	if cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// close writes what is left, and then closes the socket. Nothing is added after it.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeLocked(nil)
}

// closeLocked is close with mu held; last, if there is one, makes what is written last. It is not called where the outbox is
// being closed already.
func (o *outbox) closeLocked(last func(b []byte) []byte) {
	if o.closing {
		return
	}
	if last != nil {
		o.append(last)
	}
	_, half := o.nc.(halfCloser)
	_, shakes := o.nc.(handShaker)
	writes := o.flushing || o.buf != nil && len(*o.buf) > 0
	o.lingers = shakes || half && writes
	o.closing = true // before write, which may let go of mu
	o.end()
	o.write()
	switch {
	case o.flushing:
		_ = o.nc.SetWriteDeadline(time.Now().Add(lingerClose))
	case !o.lingers:
		_ = o.nc.Close()
	case !writes: // else done has finished it
		o.finish()
	}
}

// closed reports whether close was called.
func (o *outbox) closed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing
}

// halfCloser is a connection that can end what it sends and still read.
type halfCloser interface{ CloseWrite() error }

// handShaker is a halfCloser whose protocol has a word for the end, which each side says.
type handShaker interface {
	halfCloser
	shakesHands()
}

// finish ends the stream to the client when everything is written. o.mu is held.
func (o *outbox) finish() {
	if shaker, ok := o.nc.(handShaker); ok && o.lingers {
		_ = o.nc.SetWriteDeadline(time.Now().Add(lingerClose))
		go func() { _ = shaker.CloseWrite() }() // the client may not read
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
		_ = o.nc.SetReadDeadline(time.Unix(1, 0)) // the reader, if it waits, goes on to linger
	}
}

// linger reads what the client still sends after it was told the end, until it closes, so that it can read what it was told: a
// socket that is closed with bytes unread resets the connection, and the client's system may throw away what has arrived. It
// returns at once where there was nothing to tell, and soon after ctx ends.
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
	_, _ = io.CopyN(io.Discard, o.nc, lingerBytes)
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

// end tells those who wait that the connection is being closed. Called with mu held.
func (o *outbox) end() {
	o.room.Broadcast()
	if o.ended != nil {
		o.ended()
		o.ended = nil
	}
}

// onClose has f called, with locks held, when closing begins; false where it has begun already. nil: nobody is to be called any more.
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
		recycle(b)
		if err != nil {
			o.abort()
		}
		o.wrote(err)
	}
}

// writeParts writes in parts, so that progress shows.
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

// wrote tells those who wait for room.
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

// waitRoom blocks while the client does not read what it was sent.
func (o *outbox) waitRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closing && o.buf != nil && len(*o.buf) >= stopReading {
		o.room.Wait()
	}
}
