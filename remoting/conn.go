package remoting

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a peer may accept no bytes before its connection is closed.
const writeTimeout = 10 * time.Second

// conn is one connection. Its goroutine (run) opens it, writes what callers could not write themselves, and fails sends that are not
// answered in time; a second goroutine reads. Both end after fail, which either of them, a caller whose call timed out, or Client.Close may
// call. Lock order: mu and out.mu are leaves.
type conn struct {
	client *Client
	addr   string
	number uint64 // no other connection of the client has it

	opened chan struct{} // closed when the connection is ready for calls
	done   chan struct{} // closed by fail after it has set err
	err    error

	out outgoing
	// reads counts the received frames, to distinguish a dead connection from a slow answer.
	reads atomic.Int64

	mu     sync.Mutex
	nc     net.Conn
	failed bool
	left   *leftCall // nil: there is none that tells anything
	calls  map[int32]chan *Command
	sends  map[int32]pendingSend
}

func newConn(c *Client, addr string) *conn {
	return &conn{
		client: c, addr: addr, number: c.numbers.Add(1),
		opened: make(chan struct{}), done: make(chan struct{}),
		out:   outgoing{wake: make(chan struct{}, 1)},
		calls: make(map[int32]chan *Command), sends: make(map[int32]pendingSend),
	}
}

// run opens the connection, starts the reader and writes until the connection fails.
func (cn *conn) run() {
	nc, err := cn.dial()
	if err != nil {
		cn.fail(err)
		return
	}
	cn.mu.Lock()
	if cn.failed {
		cn.mu.Unlock()
		_ = nc.Close()
		return
	}
	cn.nc = nc
	cn.mu.Unlock()
	cn.out.init(nc)
	cn.client.cfg.Log.Debug("remoting connection opened", "address", cn.addr)
	cn.client.wg.Go(func() { cn.fail(cn.read(nc)) })
	close(cn.opened)
	cn.fail(cn.attend())
}

// sweepInterval is the interval at which sends are checked for timeouts.
const sweepInterval = 250 * time.Millisecond

// attend writes when it is woken, and fails late sends, until the connection fails.
func (cn *conn) attend() error {
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-cn.out.wake:
			if err := cn.out.drain(); err != nil {
				return err
			}
		case now := <-sweep.C:
			cn.giveUp(now)
			cn.checkLeft(now)
		case <-cn.done:
			return cn.err
		}
	}
}

func (cn *conn) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(cn.client.base, cn.client.cfg.DialTimeout)
	defer cancel()
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	if cn.client.cfg.TLS == nil {
		return d.DialContext(ctx, "tcp", cn.addr)
	}
	return (&tls.Dialer{NetDialer: d, Config: cn.client.cfg.TLS}).DialContext(ctx, "tcp", cn.addr)
}

// fail ends the connection; only the first call has an effect.
func (cn *conn) fail(err error) {
	cn.mu.Lock()
	if cn.failed {
		cn.mu.Unlock()
		return
	}
	cn.failed = true
	cn.err = connectionError(cn.addr, err)
	nc, sends := cn.nc, cn.sends
	cn.calls, cn.sends = nil, nil
	cn.mu.Unlock()
	cn.client.forget(cn) // before callers see the failure, so that a retry gets a new connection
	close(cn.done)
	if nc != nil {
		abort(nc)
	}
	for _, s := range sends {
		s.done(SendResult{}, cn.err)
	}
	cn.client.cfg.Log.Debug("remoting connection closed", "address", cn.addr, "error", cn.err)
}

// abort closes a connection whose calls have failed. The kernel forgets what the peer has not confirmed yet: if it sent that when the
// network is back, the peer would store what callers have given up long ago.
func abort(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn() // a farewell would wait behind what nobody takes
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// read passes answers to their callers until the connection breaks.
func (cn *conn) read(nc net.Conn) error {
	r := bufio.NewReaderSize(nc, readBuffer)
	for {
		frame, whole, err := peekFrame(r)
		if err != nil {
			return err
		}
		if whole && cn.sendAnswered(frame) {
			cn.reads.Add(1)
			if _, err := r.Discard(4 + len(frame)); err != nil {
				return err
			}
			continue
		}
		if frame, err = readFrame(r, cn.client.cfg.MaxFrame); err != nil {
			return err
		}
		cmd, err := DecodeFrame(frame)
		if err != nil {
			return err
		}
		cn.reads.Add(1)
		cmd.conn = cn.number
		if cmd.Flag&flagResponse == 0 {
			continue // a request of the server, such as a change of a consumer group: ignored
		}
		cn.mu.Lock()
		answer := cn.calls[cmd.Opaque]
		delete(cn.calls, cmd.Opaque)
		cn.mu.Unlock()
		if answer != nil {
			answer <- cmd
			continue
		}
		cn.sendAnsweredBy(cmd)
	}
}

const readBuffer = 64 << 10

// peekFrame returns the next frame without its length, in the reader's own buffer, if it fits there.
func peekFrame(r *bufio.Reader) (frame []byte, whole bool, err error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, false, err
	}
	n := int(int32(binary.BigEndian.Uint32(head)))
	if n < 4 || n > readBuffer-4 {
		return nil, false, nil
	}
	b, err := r.Peek(4 + n)
	if err != nil {
		return nil, false, err
	}
	return b[4:], true, nil
}

// readFrame reads one frame without its length. Memory grows with the received bytes, so that a false length costs nothing.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 4 || n > limit {
		return nil, fmt.Errorf("%w: frame of %d bytes, the limit is %d", ErrMalformed, n, limit)
	}
	const step = 1 << 20
	frame := make([]byte, min(n, step))
	for have := 0; ; {
		if _, err := io.ReadFull(r, frame[have:]); err != nil {
			return nil, err
		}
		have = len(frame)
		if have == n {
			return frame, nil
		}
		grown := make([]byte, min(n, have*2))
		copy(grown, frame)
		frame = grown
	}
}

// call sends a frame and waits for the answer to it.
func (cn *conn) call(ctx context.Context, req *Command, frame []byte, timeout <-chan time.Time) (*Command, error) {
	answer := make(chan *Command, 1)
	cn.mu.Lock()
	if cn.failed {
		cn.mu.Unlock()
		return nil, cn.err
	}
	cn.calls[req.Opaque] = answer
	cn.mu.Unlock()
	defer func() {
		cn.mu.Lock()
		delete(cn.calls, req.Opaque)
		cn.mu.Unlock()
	}()
	before := cn.reads.Load()
	cn.out.add(frame, true)
	select {
	case resp := <-answer:
		return resp, nil
	case <-cn.done:
		return nil, cn.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout:
		return nil, cn.unanswered(req.Code, before)
	}
}

// leftCall is a call whose caller has not waited for its end.
type leftCall struct {
	code  int
	reads int64 // number of received frames then
	until time.Time
}

// leave records that nobody waits for a call any more. A connection that brings nothing for a request timeout from now on is dead all the
// same, and the request must not reach the peer later.
func (cn *conn) leave(code int) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.left == nil {
		cn.left = &leftCall{code, cn.reads.Load(), time.Now().Add(cn.client.cfg.RequestTimeout)}
	}
}

// checkLeft considers the connection dead if it has brought nothing since a call was left.
func (cn *conn) checkLeft(now time.Time) {
	cn.mu.Lock()
	l := cn.left
	over := l != nil && (now.After(l.until) || cn.reads.Load() != l.reads)
	if over {
		cn.left = nil
	}
	cn.mu.Unlock()
	if over {
		_ = cn.unanswered(l.code, l.reads)
	}
}

var errNoAnswer = errors.New("no answer in time")

// unanswered returns the error of a request that timed out. If nothing at all has arrived since the request was sent, it considers the
// connection dead and closes it: a peer that vanishes without closing would otherwise keep it open for many minutes.
func (cn *conn) unanswered(code int, before int64) error {
	err := fmt.Errorf("request %d: %w", code, errNoAnswer)
	if cn.reads.Load() == before {
		cn.fail(err)
	}
	return connectionError(cn.addr, err)
}
