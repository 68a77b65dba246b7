package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"
)

// dialMQTT opens the connection that a URL names.
func dialMQTT(ctx context.Context, server string, settings *tls.Config) (net.Conn, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	address := func(port string) string {
		if u.Port() != "" {
			return u.Host
		}
		return net.JoinHostPort(u.Hostname(), port)
	}
	var dialer net.Dialer
	switch u.Scheme {
	case "unix":
		return dialer.DialContext(ctx, "unix", u.Path)
	case "ws", "wss":
		c, _, err := websocket.Dial(ctx, server, &websocket.DialOptions{Subprotocols: []string{"mqtt"},
			HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment}}})
		if err != nil {
			return nil, err
		}
		c.SetReadLimit(-1)
		return websocket.NetConn(context.Background(), c, websocket.MessageBinary), nil
	case "mqtts", "ssl", "tls":
		return (&tls.Dialer{NetDialer: &dialer, Config: settings}).DialContext(ctx, "tcp", address("8883"))
	}
	return dialer.DialContext(ctx, "tcp", address("1883"))
}

// ackCounter is a connection that counts the acknowledgements written to it: the MQTT 5 client sends them asynchronously, and sub must not
// disconnect before.
type ackCounter struct {
	net.Conn

	mu         sync.Mutex
	owed, sent int
	// Parser state of the written stream: before the first byte of a packet, in its length, or left bytes before its end.
	inLength    bool
	shift, left int
}

func newAckCounter(c net.Conn) *ackCounter { return &ackCounter{Conn: c} }

// owe counts an acknowledgement that is still to be sent.
func (a *ackCounter) owe() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owed++
}

// Write implements net.Conn. It must not be called concurrently.
func (a *ackCounter) Write(b []byte) (int, error) {
	n, err := a.Conn.Write(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	for rest := b[:n]; len(rest) > 0; {
		switch {
		case a.inLength:
			a.left |= int(rest[0]&0x7f) << a.shift
			a.shift += 7
			a.inLength = rest[0]&0x80 != 0
			rest = rest[1:]
		case a.left > 0:
			skip := min(a.left, len(rest))
			a.left -= skip
			rest = rest[skip:]
		default:
			if kind := rest[0] >> 4; kind == packets.PUBACK || kind == packets.PUBREC {
				a.sent++
			}
			a.inLength, a.shift = true, 0
			rest = rest[1:]
		}
	}
	return n, err
}

// await waits until all owed acknowledgements were sent.
func (a *ackCounter) await(limit time.Duration) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		a.mu.Lock()
		done := a.sent >= a.owed
		a.mu.Unlock()
		if done {
			return
		}
	}
}

// reasonNames are the reason codes of MQTT 5 (2.4) with which a server refuses something.
var reasonNames = map[byte]string{
	0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
	0x84: "unsupported protocol version",
	0x85: "client identifier not valid", 0x86: "bad user name or password", 0x87: "not authorized", 0x88: "server unavailable",
	0x89: "server busy",
	0x8a: "banned", 0x8b: "server shutting down", 0x8c: "bad authentication method", 0x8d: "keep alive timeout", 0x8e: "session taken over",
	0x8f: "topic filter invalid", 0x90: "topic name invalid", 0x91: "packet identifier in use", 0x93: "receive maximum exceeded",
	0x94: "topic alias invalid",
	0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action",
	0x99: "payload format invalid",
	0x9a: "retain not supported", 0x9b: "QoS not supported", 0x9c: "use another server", 0x9d: "server moved",
	0x9e: "shared subscriptions not supported",
	0x9f: "connection rate exceeded", 0xa0: "maximum connect time", 0xa1: "subscription identifiers not supported",
	0xa2: "wildcard subscriptions not supported",
}

// refused is the error of a request that the server refused, with its reason code.
type refused struct {
	where string
	code  byte
	text  string // the server's own words; may be empty
}

func refusal(where string, code byte, text string) error { return refused{where, code, text} }

func (r refused) Error() string {
	name := reasonNames[r.code]
	if name == "" {
		name = "no reason that MQTT 5 knows"
	}
	return strings.TrimSuffix(fmt.Sprintf("%s 0x%02X, %s: %s", r.where, r.code, name, r.text), ": ")
}
