package mqtt

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// exhausted is a listener of a process that has run out of file descriptors. Every second Accept succeeds.
type exhausted struct {
	net.Listener
	calls  atomic.Int64
	closed chan struct{}
}

func (e *exhausted) Accept() (net.Conn, error) {
	select {
	case <-e.closed:
		return nil, net.ErrClosed
	default:
	}
	if e.calls.Add(1)%2 == 0 {
		nc, _ := net.Pipe()
		return &remote{Conn: nc}, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

// remote is a connection that remembers whether it was closed.
type remote struct {
	net.Conn
	closed atomic.Bool
}

func (r *remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (r *remote) Close() error         { r.closed.Store(true); return r.Conn.Close() }

func TestAcceptingAtTheLimitOfDescriptorsHoldsBackAndGivesUpWhoIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := New(Options{Log: slog.New(slog.NewTextHandler(&b, nil))})
		ln := &exhausted{closed: make(chan struct{})}
		d := &door{Listener: ln, s: s, l: Listener{Address: "x"}}
		var first *remote
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				nc, _, err := d.take()
				if err != nil {
					return
				}
				if first == nil {
					first, _ = nc.(*remote)
				}
			}
		}()
		time.Sleep(time.Minute)
		close(ln.closed)
		<-done
		require.LessOrEqual(t, ln.calls.Load(), int64(150), "about one try a second")
		require.LessOrEqual(t, strings.Count(b.String(), "accepting connections fails"), 7, "a line every ten seconds")
		require.Contains(t, b.String(), "times=")
		require.True(t, first.closed.Load(), "a silent connection is given up")
		s.Close()
	})
}
