package mqtt

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/mqtt/websocket"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/internal/socket"
)

// A connection is idle for most of its life. Then it rests: the server's poller waits for its socket, and the connection has neither a
// goroutine nor a buffer. When something arrives, its keep alive expires, or it is closed, it continues on a new goroutine with the
// smallest stack. If it cannot rest, it continues on a new goroutine at once, because the old one keeps the stack that its largest packet
// needed.

// rest is the state that a connection needs to rest.
type rest struct {
	wait socket.Wait
	// until is the deadline for the next packet while the connection rests, in Unix nanoseconds; 0: none.
	until atomic.Int64
}

const (
	// leastRest is the default of Options.LeastRest. It is long so that the delay in noticing an expired keep alive is small against the
	// keep alive.
	leastRest = 10 * time.Second
	// lookAfterResting is the interval between checks of the keep alives of resting connections.
	lookAfterResting = time.Second
)

// errRests ends the goroutine of an idle connection.
var errRests = errors.New("connection rests")

// proceed serves an admitted client until its connection rests or ends. waits says that there was no input when the goroutine started.
func (c *conn) proceed(ctx context.Context, waits bool) {
	err := c.guard(func() error { return c.run(ctx, waits) })
	switch {
	case !errors.Is(err, errRests):
		c.end(ctx, err)
	case !c.rests():
		go c.proceed(ctx, true)
	}
}

// idle reports whether the connection probably has nothing to do after this packet.
func (c *conn) idle(p packet.Packet) bool {
	switch p.(type) {
	case *packet.Subscribe, *packet.Unsubscribe, *packet.Pingreq:
		return c.reader.Buffered() == 0
	}
	return false
}

// rests lets the connection rest. If it returns true, the connection may already belong to another goroutine.
func (c *conn) rests() bool {
	if c.keepAlive != 0 && c.keepAlive < c.srv.o.LeastRest || c.srv.poller == nil {
		return false
	}
	raw := socketBelow(c.nc)
	if raw != c.nc && c.holdsInput() {
		return false
	}
	c.reader.Release()
	until := int64(0)
	if c.keepAlive != 0 {
		until = time.Now().Add(c.keepAlive + c.keepAlive/2).UnixNano() // [MQTT-3.1.2-22]
	}
	c.rest.until.Store(until)
	if !c.out.onClose(c.wake) {
		return false
	}
	if !c.srv.poller.Arm(&c.rest.wait, raw, c) {
		c.out.onClose(nil)
		return false
	}
	// Closing may have begun before there was anyone to wake.
	return !c.out.closed() || !c.srv.poller.Disarm(&c.rest.wait)
}

// holdsInput reports whether a layer above the socket, such as TLS, holds input that the connection has not read. The poller would not see
// such input.
func (c *conn) holdsInput() bool {
	if c.nc.SetReadDeadline(time.Unix(1, 0)) != nil {
		return true
	}
	holds := c.reader.Poll()
	if w, ok := c.nc.(*websocket.Conn); ok {
		holds = w.Holds() || holds
	}
	// A concurrent close may have moved the deadline meanwhile; rests checks for that afterwards.
	return c.nc.SetReadDeadline(time.Time{}) != nil || holds
}

// socketBelow returns the innermost connection below all wrappers.
func socketBelow(nc net.Conn) net.Conn {
	for {
		inner := below(nc)
		if inner == nil {
			return nc
		}
		nc = inner
	}
}

// Readable implements socket.Waiter.
func (c *conn) Readable() { c.goOn(nil) }

// wake ends the rest of a connection that is closing. It is called with locks held.
func (c *conn) wake() {
	if c.srv.poller.Disarm(&c.rest.wait) {
		go c.goOn(nil)
	}
}

// goOn ends a rest. err is os.ErrDeadlineExceeded if the client's keep alive has expired, else nil.
func (c *conn) goOn(err error) {
	c.out.onClose(nil)
	if err != nil {
		c.end(c.srv.ctx, c.readFailed(err))
		return
	}
	c.proceed(c.srv.ctx, false)
}

// endRests ends the rests of clients whose keep alive has expired, until ctx ends.
func (s *Server) endRests(ctx context.Context) {
	tick := time.NewTicker(lookAfterResting)
	defer tick.Stop()
	var over []*conn
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		over = over[:0]
		s.mu.Lock()
		for c := range s.conns {
			if until := c.rest.until.Load(); until != 0 && until < now.UnixNano() {
				over = append(over, c)
			}
		}
		s.mu.Unlock()
		for _, c := range over {
			if !s.poller.Disarm(&c.rest.wait) {
				continue // no longer resting
			}
			var err error
			if until := c.rest.until.Load(); until != 0 && until < now.UnixNano() { // else it is a later rest
				err = os.ErrDeadlineExceeded
			}
			go c.goOn(err)
		}
		clear(over)
	}
}
