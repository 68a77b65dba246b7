package mqtt

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/mqtt/websocket"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/trace"
	"github.com/lmqgate/lmqgate/internal/socket"
)

// conn is one client's connection.
type conn struct {
	srv      *Server
	nc       net.Conn
	listener string
	remote   string
	begun    time.Time // when it was accepted
	place    *place    // among the connections whose client is not admitted; given back on admission
	memory   share     // of the budget for large CONNECTs
	rest     rest
	log      *slog.Logger
	reader   *packet.Reader
	out      outbox
	acks     acks
	inflow   inflow
	parties  atomic.Pointer[[]*party] // whose rates apply, once the client is authenticated; nil: nobody's

	// Set by the handshake and constant afterwards.
	version   packet.Version
	clientID  string
	principal *auth.Principal // changes with a re-authentication; used by the reader only
	session   *session.Session
	keepAlive time.Duration
	maxSize   uint32 // of packets to the client, in bytes; 0: no limit
	reasons   bool   // the client wants reason strings (MQTT 5, 3.1.2.11.7)

	enhanced *enhanced // nil unless CONNECT named an authentication method; used by the reader only

	lanes *publish.Lanes // set by the handshake; guarded by out.mu until then

	aliasesIn aliasesIn // used by the reader only
	drops     *drops    // nil: nothing was dropped; guarded by out.mu
	aliasMax  uint16
	// aliases are those to the client, aliasBytes their topics; guarded by out.mu.
	aliases    map[string]uint16
	aliasBytes int
	// answered: a successful CONNACK was written, so DISCONNECT is allowed [MQTT-3.14.0-1]; guarded by out.mu.
	answered bool

	ending session.Ending // used by the reader only
	expiry *time.Timer
	// admitted is the principal once the client has one, for other goroutines.
	admitted atomic.Pointer[auth.Principal]
	// refusedAt is when Recent last took a refused message or subscription, in nanoseconds.
	refusedAt atomic.Int64
	rights    rights
	// known is what the connection can be banned by; set once its CONNECT has arrived.
	known atomic.Pointer[known]
	// seat is the connection's part in the slot of its client id; guarded by Server.mu.
	seat seat

	// asked is when CONNECT arrived, connected when the client was admitted, said whether the client sent DISCONNECT. Used by the reader
	// only.
	asked, connected time.Time
	said             bool
	bytesIn          int64 // of packets; by the reader only
	// vainRate limits packets without effect; nil: there were none. Used by the reader only.
	vainRate *limits.Bucket

	causeMu   sync.Mutex
	cause     string // why the server closed the connection
	closeCode packet.Code
}

// errEnded ends a connection silently: everything that had to be sent was sent.
var errEnded = errors.New("connection ended")

// newConn makes a connection, which can be closed before it is served.
func (s *Server) newConn(nc net.Conn, listener, remote string, begun time.Time, pl *place) *conn {
	c := &conn{srv: s, nc: nc, listener: listener, remote: remote, begun: begun, place: pl, log: s.log}
	c.out.init(nc, s.outbound, s.o.StalledAfter)
	c.out.sent = &s.metrics.sent
	c.inflow.account.Init(s.inbound, s.bounds.Load().ClientInbound)
	c.acks.room.L = &c.acks.mu
	return c
}

// serve runs a connection until it rests or ends. A connection that rests continues on another goroutine; see rest.
func (c *conn) serve(ctx context.Context) {
	c.reader = packet.NewReader(c.nc, min(c.srv.o.MaxPacketSize, maxConnectSize))
	err := c.guard(func() error { return c.handshake(ctx) })
	if err != nil {
		c.end(ctx, err)
		return
	}
	c.reader.Message = c.awaitMessage
	c.proceed(ctx, false)
}

// end cleans up once nothing more is read.
func (c *conn) end(ctx context.Context, err error) {
	defer c.srv.left(c)
	c.srv.poller.Leave(&c.rest.wait)
	c.acks.stop()
	c.inflow.giveBack()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.abandon()
	if errors.Is(err, websocket.ErrFlooded) {
		c.flooded()
	}
	c.out.close()
	defer c.out.linger(ctx)
	c.reader.Release()
	if c.session == nil {
		c.log.Debug("connection closed before it was admitted", "error", err)
		return
	}
	c.leaveSys()
	c.session.Detach(c, c.ending)
	c.noteDisconnected(err)
	c.flapped()
}

// guard makes a panic end only this connection.
func (c *conn) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("handling a packet failed; this is a bug in lmqgate, please report it", "client", c.clientID, "panic", p,
				"stack", string(debug.Stack()))
			err = errEnded
		}
	}()
	return f()
}

// run reads and handles packets until the connection ends or has nothing to do. waits says that the connection has had nothing to do: run
// then waits for the first packet without holding a buffer, if the system allows that.
func (c *conn) run(ctx context.Context, waits bool) error {
	for ; ; waits = false {
		c.out.waitRoom()
		if err := c.deadline(); err != nil {
			return err
		}
		if c.out.closed() { // its read deadline may have been removed
			return errEnded
		}
		if waits && c.reader.Buffered() == 0 {
			if err := socket.WaitReadable(c.nc); err != nil {
				return c.readFailed(err)
			}
		}
		p, err := c.readPacket()
		c.inflow.due.Store(0)
		if err != nil {
			return c.readFailed(err)
		}
		if err := c.handle(ctx, p); err != nil {
			return err
		}
		if c.idle(p) {
			return errRests
		}
	}
}

// readPacket reads and counts the next packet.
func (c *conn) readPacket() (packet.Packet, error) {
	p, err := c.reader.ReadPacket()
	if err == nil {
		c.srv.metrics.arrived.one(p.Type(), c.reader.Size())
		c.bytesIn += int64(c.reader.Size())
		c.traced(trace.In, p)
	}
	return p, err
}

// deadline gives the client one and a half times its keep alive to send the next packet [MQTT-3.1.2-22].
func (c *conn) deadline() error {
	if c.keepAlive == 0 {
		return nil
	}
	if until := c.rest.until.Swap(0); until != 0 { // after a rest, the packet is due in the time that began with the rest
		return c.nc.SetReadDeadline(time.Unix(0, until))
	}
	return c.nc.SetReadDeadline(time.Now().Add(c.keepAlive + c.keepAlive/2))
}

// readFailed answers a failed read, if an answer is possible, before the connection closes.
func (c *conn) readFailed(err error) error {
	var bad *packet.Error
	switch {
	case errors.As(err, &bad):
		c.srv.metrics.malformed.Inc()
		c.log.Warn("client sent what the protocol forbids; closing its connection", "client", c.clientID, "remote", c.remote, "error", bad)
		c.Close(bad.Code, bad.Reason)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Close(packet.KeepAliveTimeout, "nothing was received within one and a half times the keep alive")
	case errors.Is(err, io.EOF):
	}
	return err
}

// SendPublish implements session.Conn.
func (c *conn) SendPublish(p *packet.Publish) session.SendResult {
	return c.tracedResult(p, c.sendPublish(p))
}

func (c *conn) sendPublish(p *packet.Publish) session.SendResult {
	if c.tooLarge(p) && !c.fitsUntraced(p) {
		c.srv.metrics.tooLarge.Inc()
		c.eventTooLarge(p.Topic)
		c.log.Debug("message is larger than the client takes; not sent", "client", c.clientID, "topic", p.Topic, "limit", c.maxSize)
		return session.TooLarge
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.aliasMax > 0 {
		p = c.alias(p)
	}
	size, ok := c.out.gather(func(b []byte) []byte { return packet.AppendPublish(b, c.version, p) })
	for _, party := range c.heldTo() {
		party.outbound.Take(float64(len(p.Payload) + len(p.Topic)))
	}
	switch {
	case !ok:
		return session.Gone
	case size >= highWater:
		return session.SentFull
	default:
		return session.Sent
	}
}

// smallMessage is the size, in bytes, up to which a message may always be sent to a connection with an empty buffer, however little memory
// the node has left.
const smallMessage = 4 << 10

// Room implements session.Conn.
func (c *conn) Room(bytes int) bool {
	var wait time.Duration
	for _, party := range c.heldTo() {
		wait = max(wait, party.outbound.Wait())
	}
	if wait > 0 {
		c.srv.metrics.slowed.Inc()
		time.AfterFunc(min(wait, longestPause), c.out.writable) // the session asks again then; the rate may have changed
		return false
	}
	if !c.srv.outbound.Over() {
		return true
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closing || bytes <= smallMessage && !c.out.flushing && (c.out.buf == nil || len(*c.out.buf) == 0) {
		return true
	}
	c.srv.metrics.unsent.Inc()
	c.srv.outbound.Tell(c.out.writable)
	return false
}

// Flush implements session.Conn.
func (c *conn) Flush() { c.out.flush() }

// alias replaces the topic by an alias if the client accepts one and that saves bytes (MQTT 5, 3.3.2.3.4).
func (c *conn) alias(p *packet.Publish) *packet.Publish {
	if len(p.Topic) < minAliasTopic {
		return p
	}
	a, known := c.aliases[p.Topic]
	if !known {
		if len(c.aliases) >= int(c.aliasMax) || c.aliasBytes+len(p.Topic) > freeAliases {
			return p
		}
		a = uint16(len(c.aliases) + 1)
	}
	out := *p
	props := packet.Properties{}
	if p.Properties != nil {
		props = *p.Properties
	}
	props.TopicAlias = &a
	out.Properties = &props
	switch {
	case known:
		out.Topic = ""
	case c.tooLarge(&out): // only because of the alias
		return p
	default:
		if c.aliases == nil {
			c.aliases = make(map[string]uint16)
		}
		c.aliases[strings.Clone(p.Topic)] = a // clone: the topic shares memory with the payload
		c.aliasBytes += len(p.Topic)
	}
	return &out
}

// minAliasTopic is the topic length, in bytes, from which an alias saves bytes.
const minAliasTopic = 5

var _ session.Conn = (*conn)(nil)
