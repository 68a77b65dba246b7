package mqtt

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/internal/repeat"
)

const (
	// firstWait and lastWait bound the pause after a failure to accept a connection.
	firstWait = 50 * time.Millisecond
	lastWait  = time.Second
	// calmAfter is how long accepting must work before an earlier failure counts as over.
	calmAfter = 10 * time.Second
	// tellEvery is the minimum interval between log lines about the same trouble.
	tellEvery = 10 * time.Second
)

// door accepts the connections of a listener. It pauses when accepting fails, and turns away connections for which there is no place.
type door struct {
	net.Listener
	s      *Server
	l      Listener
	index  int // of the listener in Options.Listeners
	wait   time.Duration
	failed time.Time
	told   repeat.Line
}

// take accepts a connection and returns it with the place that it holds.
func (d *door) take() (net.Conn, *place, error) {
	for {
		if !d.paced() {
			return nil, nil, net.ErrClosed
		}
		nc, err := d.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !d.rest(err) {
				return nil, nil, net.ErrClosed
			}
			continue
		}
		source := d.s.pending.sourceOf(nc.RemoteAddr())
		if d.l.trusts(nc.RemoteAddr()) {
			source = netip.Prefix{} // a load balancer of many clients; its header names the client's address
		}
		if pl := d.s.pending.enter(nc, d.index, source); pl != nil {
			for _, p := range d.s.rates.accepting(d.index) {
				p.connects.Take(1)
			}
			return nc, pl, nil
		}
		_ = nc.Close()
	}
}

// paced waits until the rates of the listener and the node allow another connection. Meanwhile new connections wait in the system's queue.
// It returns false when the server closes.
func (d *door) paced() bool {
	for told := false; ; told = true {
		var wait time.Duration
		for _, p := range d.s.rates.accepting(d.index) {
			wait = max(wait, p.connects.Wait())
		}
		if wait == 0 {
			return true
		}
		if !told {
			d.s.metrics.slowed.Inc()
		}
		select {
		case <-d.s.ctx.Done():
			return false
		case <-time.After(min(wait, lastWait)): // the rate may change meanwhile
		}
	}
}

// rest pauses after a failure to accept; it returns false when the server closes. If file descriptors have run out, it closes a connection
// whose client is not admitted, to make room for the next.
func (d *door) rest(err error) bool {
	if out := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE); out {
		d.s.pending.shed("descriptors")
	}
	now := time.Now()
	if now.Sub(d.failed) > calmAfter {
		d.wait = 0
	}
	d.failed = now
	d.wait = min(max(2*d.wait, firstWait), lastWait)
	if times, due := d.told.Due(tellEvery); due {
		d.s.log.Warn("accepting connections fails; raise the limit of open files, or lower mqtt.max_connections", "listener", d.l.Address, "error", err,
			"times", times, "wait", d.wait)
	}
	select {
	case <-d.s.ctx.Done():
		return false
	case <-time.After(d.wait):
		return true
	}
}

// Accept implements net.Listener, for HTTP servers.
func (d *door) Accept() (net.Conn, error) {
	nc, pl, err := d.take()
	if err != nil {
		return nil, err
	}
	return &placed{Conn: nc, place: pl}, nil
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	place *place
}

// Close implements net.Conn.
func (p *placed) Close() error {
	p.place.leave()
	return p.Conn.Close()
}

// placeOf finds the place of a connection below its wrappers; nil: there is none.
func placeOf(nc net.Conn) *place {
	for ; nc != nil; nc = below(nc) {
		if c, ok := nc.(*placed); ok {
			return c.place
		}
	}
	return nil
}

// below returns the connection that nc wraps; nil: it wraps none.
func below(nc net.Conn) net.Conn {
	switch c := nc.(type) {
	case *placed:
		return c.Conn
	case *lazyHeader:
		return c.raw
	case *gathered:
		return c.Conn
	case interface{ Raw() net.Conn }: // has a PROXY protocol header
		return c.Raw()
	case interface{ NetConn() net.Conn }:
		return c.NetConn()
	}
	return nil
}

// turned logs connections that were turned away, at most every tellEvery.
func (s *Server) turned(reason string, source netip.Prefix) {
	times, due := s.turnedAway.Due(tellEvery)
	if !due {
		return
	}
	last := "an address without a bound of its own"
	if source.IsValid() {
		last = source.String()
	}
	s.log.Log(s.ctx, slog.LevelWarn, "connections whose clients were not admitted yet are closed: there are too many; see limits in the configuration",
		"bound", reason, "times", times, "last_from", last)
}
