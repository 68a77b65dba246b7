package mqtttest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// Client is one connection. It acknowledges nothing by itself. It reads the socket only while the test reads: a test that expects nothing
// for a while is a slow consumer.
type Client struct {
	tb      testing.TB
	nc      net.Conn
	Version packet.Version
	// Connack is the answer to CONNECT, once it has arrived.
	Connack *packet.Connack

	in     chan received
	peeked []received // taken from in, but not by the test yet
	done   chan struct{}
	once   sync.Once
	reader sync.WaitGroup
	lastID uint16
}

type received struct {
	p   packet.Packet
	err error
}

// Dial opens a connection that speaks MQTT version v, without sending CONNECT.
func (n *Node) Dial(v packet.Version) *Client {
	n.tb.Helper()
	nc, err := net.DialTimeout("tcp", n.tcp.String(), Patience)
	require.NoError(n.tb, err)
	return n.Client(nc, v)
}

// DialSlow opens a connection like Dial, with a bounded socket receive buffer of 256 KiB.
func (n *Node) DialSlow(v packet.Version) *Client {
	n.tb.Helper()
	nc, err := net.DialTimeout("tcp", n.tcp.String(), Patience)
	require.NoError(n.tb, err)
	require.NoError(n.tb, nc.(*net.TCPConn).SetReadBuffer(256<<10)) //nolint:forcetypeassert // dialled as such
	return n.Client(nc, v)
}

// DialWS opens a WebSocket that offers the given sub-protocols.
func (n *Node) DialWS(v packet.Version, subprotocols ...string) *Client {
	n.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, n.URL(), &websocket.DialOptions{Subprotocols: subprotocols}) //nolint:bodyclose // websocket does
	require.NoError(n.tb, err)
	ws.SetReadLimit(-1)
	return n.Client(&socket{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws}, v)
}

// socket is a WebSocket that closes without waiting for the other side.
type socket struct {
	net.Conn
	ws *websocket.Conn
}

// Close drops the connection.
func (s *socket) Close() error { return s.ws.CloseNow() }

// URL returns the URL of the WebSocket listener.
func (n *Node) URL() string { return "ws://" + n.ws.String() + "/mqtt" }

// Client makes a Client of a connection that the test has opened.
func (n *Node) Client(nc net.Conn, v packet.Version) *Client {
	c := &Client{tb: n.tb, nc: nc, Version: v, in: make(chan received), done: make(chan struct{})}
	n.mu.Lock()
	n.clients = append(n.clients, c)
	n.mu.Unlock()
	c.reader.Add(1)
	go c.read()
	return c
}

// read hands packets over one by one: packets that the test does not take stay in the socket. Close ends it.
func (c *Client) read() {
	defer c.reader.Done()
	r := packet.NewReader(c.nc, 0)
	r.Client = true
	r.SetVersion(c.Version)
	defer r.Release()
	for {
		p, err := r.ReadPacket()
		select {
		case c.in <- received{p, err}:
		case <-c.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Close drops the connection without DISCONNECT.
func (c *Client) Close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.nc.Close()
	})
	c.reader.Wait()
}

// SendRaw writes bytes.
func (c *Client) SendRaw(b ...byte) {
	c.tb.Helper()
	_ = c.nc.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.nc.Write(b)
	require.NoError(c.tb, err)
}

// TrySendRaw writes bytes to a connection that may already be closed.
func (c *Client) TrySendRaw(b ...byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.nc.Write(b)
	return err
}

// Send writes packets.
func (c *Client) Send(packets ...packet.Packet) {
	c.tb.Helper()
	var b []byte
	for _, p := range packets {
		b = c.Encode(b, p)
	}
	c.SendRaw(b...)
}

// Encode appends the encoding of a packet in the connection's version.
func (c *Client) Encode(b []byte, p packet.Packet) []byte {
	c.tb.Helper()
	out, err := packet.Append(b, p, c.Version)
	require.NoError(c.tb, err)
	return out
}

// NextID returns a packet id that was not used before, until all 65535 have been used.
func (c *Client) NextID() uint16 {
	c.lastID++
	if c.lastID == 0 {
		c.lastID = 1
	}
	return c.lastID
}

// Option changes a CONNECT.
type Option func(*packet.Connect)

// Keep asks for a session that outlives the connection: CleanSession 0, and for MQTT 5 a session expiry of an hour.
func Keep(cn *packet.Connect) {
	cn.CleanStart = false
	if cn.Version == packet.V5 {
		Expiry(3600)(cn)
	}
}

// Resume asks for an existing session, and changes nothing else.
func Resume(cn *packet.Connect) { cn.CleanStart = false }

// Expiry asks for a Session Expiry Interval in seconds.
func Expiry(seconds uint32) Option {
	return Props(func(p *packet.Properties) { p.SessionExpiryInterval = &seconds })
}

// KeepAlive asks for a keep alive in seconds.
func KeepAlive(seconds uint16) Option { return func(cn *packet.Connect) { cn.KeepAlive = seconds } }

// Will leaves a will.
func Will(w packet.Will) Option { return func(cn *packet.Connect) { cn.Will = &w } }

// Props changes the properties of CONNECT.
func Props(f func(*packet.Properties)) Option {
	return func(cn *packet.Connect) {
		if cn.Properties == nil {
			cn.Properties = &packet.Properties{}
		}
		f(cn.Properties)
	}
}

// Connect opens a connection and expects admission. Without options it asks for a clean session and no keep alive.
func (n *Node) Connect(v packet.Version, clientID string, options ...Option) *Client {
	n.tb.Helper()
	return n.Dial(v).Connect(clientID, options...)
}

// Connect sends CONNECT and expects admission.
func (c *Client) Connect(clientID string, options ...Option) *Client {
	c.tb.Helper()
	a := c.TryConnect(clientID, options...)
	require.Equal(c.tb, packet.Success, a.Code, "CONNACK for client %q", clientID)
	return c
}

// TryConnect sends CONNECT and returns the answer.
func (c *Client) TryConnect(clientID string, options ...Option) *packet.Connack {
	c.tb.Helper()
	cn := &packet.Connect{Version: c.Version, CleanStart: true, ClientID: clientID}
	for _, f := range options {
		f(cn)
	}
	c.Send(cn)
	c.Connack = Expect[*packet.Connack](c)
	return c.Connack
}

// Disconnect ends the connection with DISCONNECT, and waits until the server has closed it too.
func (c *Client) Disconnect() {
	c.tb.Helper()
	c.Send(&packet.Disconnect{})
	c.ExpectClosed()
	c.Close()
}
