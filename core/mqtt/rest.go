package mqtt

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/internal/socket"
)

// A connection has nothing to do for most of its life. Then it rests: the server's poller waits for its socket, and it has neither a
// goroutine nor a buffer. It goes on on a new goroutine, with the smallest stack, when something arrives, when its keep alive is over, or
// when it is being closed. Where it cannot rest it goes on on a new goroutine at once, for a goroutine keeps the stack that its largest
// packet took.

// rest is what a connection needs to rest.
type rest struct {
	wait socket.Wait
	// until is when the client is to have sent something while the connection rests, in Unix nanoseconds; 0: whenever it likes.
	until atomic.Int64
}

const (
	// leastRest is Options.LeastRest where it is not set: how late the end of a keep alive is noticed is to be little of it.
	leastRest = 10 * time.Second
	// lookAfterResting is how often the keep alives of those who rest are looked at.
	lookAfterResting = time.Second
)

// errRests ends the goroutine of a connection that has nothing to do.
var errRests = errors.New("connection rests")

// proceed serves an admitted client until its connection rests or ends. waits: nothing was there when it began.
func (c *conn) proceed(ctx context.Context, waits bool) {
	err := c.guard(func() error { return c.run(ctx, waits) })
	switch {
	case !errors.Is(err, errRests):
		c.end(ctx, err)
	case !c.rests():
		go c.proceed(ctx, true)
	}
}

// idle reports whether the connection has probably nothing to do after a packet.
func (c *conn) idle(p packet.Packet) bool {
	switch p.(type) {
	case *packet.Subscribe, *packet.Unsubscribe, *packet.Pingreq:
		return c.reader.Buffered() == 0
	}
	return false
}

// rests lets the connection rest, and reports whether it does. Then it is another goroutine's already.
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
	// Closing may have begun before there was anybody to wake.
	return !c.out.closed() || !c.srv.poller.Disarm(&c.rest.wait)
}

// holdsInput reports whether a layer above the socket, such as TLS, has read something that the connection has not. Then the socket says
// nothing of it.
func (c *conn) holdsInput() bool {
	if c.nc.SetReadDeadline(time.Unix(1, 0)) != nil {
		return true
	}
	holds := c.reader.Poll()
	if w, ok := c.nc.(*wsConn); ok {
		holds = w.holds() || holds
	}
	// Whoever closes may have moved the deadline meanwhile; whoever rests looks for that afterwards.
	return c.nc.SetReadDeadline(time.Time{}) != nil || holds
}

// socketBelow is what a connection was wrapped in.
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

// wake ends the rest of a connection that is being closed. It is called with locks held.
func (c *conn) wake() {
	if c.srv.poller.Disarm(&c.rest.wait) {
		go c.goOn(nil)
	}
}

// goOn ends a rest; err is what the client did not do in time.
func (c *conn) goOn(err error) {
	c.out.onClose(nil)
	if err != nil {
		c.end(c.srv.ctx, c.readFailed(err))
		return
	}
	c.proceed(c.srv.ctx, false)
}

// endRests ends the rests of clients whose keep alive is over, until ctx ends.
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
				continue // it does not rest any more
			}
			var err error
			if until := c.rest.until.Load(); until != 0 && until < now.UnixNano() { // else it is another rest
				err = os.ErrDeadlineExceeded
			}
			go c.goOn(err)
		}
		clear(over)
	}
}
