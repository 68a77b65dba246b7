package remoting

import (
	"net"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/internal/socket"
)

// keepBuffer is the largest write buffer that is kept for the next frames.
const keepBuffer = 256 << 10

// outgoing is the write side of a connection. A caller that adds a frame to an idle connection writes it at once, as far as the kernel
// accepts it without blocking. Frames added meanwhile are batched, and the connection's goroutine sends them in one write.
type outgoing struct {
	nc   net.Conn
	now  *socket.Writer
	wake chan struct{} // one token: drain is needed

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	writing bool // a write is in progress or imminent
}

func (o *outgoing) init(nc net.Conn) {
	o.nc = nc
	o.now = socket.NewWriter(nc)
}

// add copies a frame. It never waits for the peer. With direct the caller may write the frame itself; with many frames in flight, batching
// is cheaper.
func (o *outgoing) add(frame []byte, direct bool) {
	o.mu.Lock()
	if o.writing {
		o.buf = append(o.buf, frame...)
		o.mu.Unlock()
		return
	}
	o.writing = true
	if !direct || o.now == nil {
		o.buf = append(o.buf, frame...)
		o.mu.Unlock()
		o.wake <- struct{}{}
		return
	}
	o.mu.Unlock()
	n, _ := o.now.Write(frame) // an error occurs again when the rest is written
	o.mu.Lock()
	if n == len(frame) && len(o.buf) == 0 {
		o.writing = false
		o.mu.Unlock()
		return
	}
	if rest := frame[n:]; len(rest) > 0 {
		o.buf = append(append(make([]byte, 0, len(rest)+len(o.buf)), rest...), o.buf...)
	}
	o.mu.Unlock()
	o.wake <- struct{}{}
}

// drain writes until nothing is left. Only the connection's goroutine may call it, after it was woken.
func (o *outgoing) drain() error {
	for {
		o.mu.Lock()
		if len(o.buf) == 0 {
			o.writing = false
			o.mu.Unlock()
			return nil
		}
		b := o.buf
		o.buf = o.spare[:0]
		o.mu.Unlock()
		if err := o.write(b); err != nil {
			return err
		}
		if cap(b) > keepBuffer {
			b = nil
		}
		o.spare = b
	}
}

// write writes all of b; it waits for the peer up to writeTimeout.
func (o *outgoing) write(b []byte) error {
	n, err := o.now.Write(b)
	if err != nil || n == len(b) {
		return err
	}
	if err := o.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := o.nc.Write(b[n:]); err != nil {
		return err
	}
	return o.nc.SetWriteDeadline(time.Time{})
}
