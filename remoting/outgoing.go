package remoting

import (
	"net"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/internal/socket"
)

// keepBuffer is the largest write buffer that is kept for the next frames.
const keepBuffer = 256 << 10

// outgoing is the write side of a connection. Who adds a frame to an idle connection writes it at once, as far as the kernel
// takes it without waiting; what comes meanwhile is gathered, and goes out in one write by the connection's goroutine.
type outgoing struct {
	nc   net.Conn
	now  *socket.Writer
	wake chan struct{} // one token: drain is wanted

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	writing bool // somebody writes, or is about to
}

func (o *outgoing) init(nc net.Conn) {
	o.nc = nc
	o.now = socket.NewWriter(nc)
}

// add takes a copy of a frame. It never waits for the peer. Direct says that the caller may write it itself; with many frames
// under way, gathering them is cheaper.
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
	n, _ := o.now.Write(frame) // an error comes again when the rest is written
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

// drain writes until nothing is left. Only the connection's goroutine calls it, after it was woken.
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

// write waits for the peer to take all of b, up to writeTimeout.
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
