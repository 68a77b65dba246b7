package remoting

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	DefaultDialTimeout    = 3 * time.Second
	DefaultRequestTimeout = 3 * time.Second
	DefaultMaxFrame       = 64 << 20
)

// Config configures a Client. The zero value is usable.
type Config struct {
	Credentials Credentials
	// TLS enables TLS on every connection; nil for plain TCP. An empty ServerName is filled in from each address.
	TLS *tls.Config
	// DialTimeout bounds opening a connection, including the TLS handshake; 0 for DefaultDialTimeout.
	DialTimeout time.Duration
	// RequestTimeout bounds each call in addition to its context, so that a peer that never answers is detected. Long polls add the time
	// that the peer may wait. 0 for DefaultRequestTimeout.
	RequestTimeout time.Duration
	// MaxFrame is the largest frame that is accepted or sent, in bytes; 0 for DefaultMaxFrame. If a peer announces more, its connection is
	// closed.
	MaxFrame int
	// Log receives debug lines about connections; nil for none.
	Log *slog.Logger
}

// Client calls RocketMQ servers. Lifecycle: New -> use -> Close. All methods are safe for concurrent use.
type Client struct {
	cfg     Config
	opaque  atomic.Int32
	numbers atomic.Uint64 // of connections, from 1

	// base ends when the client is closed; dials and connections derive from it.
	base context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  map[string]*conn
	closed bool
}

// New returns a client. It opens no connection.
func New(cfg Config) *Client {
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = DefaultDialTimeout
	}
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = DefaultMaxFrame
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, conns: make(map[string]*conn)}
	c.base, c.stop = context.WithCancel(context.Background())
	return c
}

// Close fails all calls in flight with ErrClosed, closes the connections and waits for their goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conns := make([]*conn, 0, len(c.conns))
	for _, cn := range c.conns {
		conns = append(conns, cn)
	}
	c.mu.Unlock()
	c.stop()
	for _, cn := range conns {
		cn.fail(ErrClosed)
	}
	c.wg.Wait()
	return nil
}

// Invoke sends a request to addr ("host:port") and returns the answer, whatever its code. The client sets opaque, version and signature.
// Invoke fails with the context's error when ctx ends, with an error wrapping ErrConnection when the peer cannot be reached or does not
// answer within Config.RequestTimeout, and with ErrClosed after Close.
func (c *Client) Invoke(ctx context.Context, addr string, req *Command) (*Command, error) {
	return c.invoke(ctx, addr, req, c.cfg.RequestTimeout)
}

func (c *Client) invoke(ctx context.Context, addr string, req *Command, timeout time.Duration) (*Command, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	req.Version, req.Opaque, req.Flag = clientVersion, c.opaque.Add(1), 0
	c.cfg.Credentials.sign(req)
	frame, err := req.AppendFrame(nil)
	if err != nil {
		return nil, err
	}
	if len(frame) > c.cfg.MaxFrame {
		return nil, fmt.Errorf("request %d has %d bytes, more than the limit of %d", req.Code, len(frame), c.cfg.MaxFrame)
	}
	cn, err := c.connection(ctx, addr)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	resp, err := cn.call(ctx, req, frame, timer.C)
	if err != nil && ctx.Err() != nil && timeout <= c.cfg.RequestTimeout { // long polls are left often, and answered late
		cn.leave(req.Code)
	}
	return resp, err
}

// do is Invoke for requests with the given success codes; any other answer becomes an *Error.
func (c *Client) do(ctx context.Context, addr string, req *Command, good ...int) (*Command, error) {
	resp, err := c.Invoke(ctx, addr, req)
	if err != nil {
		return nil, err
	}
	return resp, check(addr, req, resp, good...)
}

func check(addr string, req, resp *Command, good ...int) error {
	if resp.Code == Success || slices.Contains(good, resp.Code) {
		return nil
	}
	return &Error{Addr: addr, Request: req.Code, Code: resp.Code, Remark: resp.Remark, Connection: resp.conn}
}

// connection returns the open connection to addr, opening one if there is none. Concurrent callers wait for the same attempt.
func (c *Client) connection(ctx context.Context, addr string) (*conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	cn := c.conns[addr]
	if cn == nil {
		cn = newConn(c, addr)
		c.conns[addr] = cn
		c.wg.Go(cn.run)
	}
	c.mu.Unlock()
	select {
	case <-cn.opened:
		return cn, nil
	case <-cn.done:
		return nil, cn.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open returns the connection to addr if it is open already.
func (c *Client) open(addr string) *conn {
	c.mu.Lock()
	cn := c.conns[addr]
	c.mu.Unlock()
	if cn == nil {
		return nil
	}
	select {
	case <-cn.opened:
		return cn
	default:
		return nil
	}
}

// forget removes a dead connection, so that the next call opens a new one.
func (c *Client) forget(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[cn.addr] == cn {
		delete(c.conns, cn.addr)
	}
}

// connectionError wraps err as ErrConnection, unless it is ErrClosed.
func connectionError(addr string, err error) error {
	if errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %s: %w", ErrConnection, addr, err)
}
