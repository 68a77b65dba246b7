package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// SendResult is the outcome of Conn.SendPublish.
type SendResult uint8

// Results of Conn.SendPublish.
const (
	// Sent: the PUBLISH is in the connection's buffer, which has room for more.
	Sent SendResult = iota
	// SentFull: the PUBLISH is in the buffer, which is now full. The connection calls Session.Writable when there is room again.
	SentFull
	// TooLarge: the packet exceeds the client's maximum packet size. Nothing was sent.
	TooLarge
	// Gone: the connection is closed.
	Gone
)

// Conn is a session's connection. None of its methods but Settle blocks.
type Conn interface {
	// Room reports whether the node has enough memory to send a message with a payload of this size now. If not, the connection calls
	// Session.Writable when it has.
	Room(bytes int) bool
	// SendPublish puts a PUBLISH into the connection's buffer. Flush writes it, together with whatever follows it.
	SendPublish(p *packet.Publish) SendResult
	Flush()
	SendAck(kind packet.Type, id uint16, code packet.Code)
	// Close ends the connection. An MQTT 5 client first gets DISCONNECT with the reason.
	Close(code packet.Code, reason string)
	// Settle waits until the outcome of everything that the client published over the connection is known, or until ctx ends. Withhold ends
	// the attempts to store it. Both are called after Close.
	Settle(ctx context.Context) error
	Withhold()
}

// Request is an authenticated CONNECT.
type Request struct {
	ClientID string
	Username string
	// Owner is the identity that the client was admitted as; the zero Owner for anonymous clients.
	Owner   meta.Owner
	Version packet.Version
	// CleanStart begins a new session (MQTT 3.1.1: CleanSession).
	CleanStart bool
	// Expiry is how long the session outlives the connection. 0: the session ends with it. meta.NeverExpires: for ever.
	Expiry time.Duration
	// Will is published when the connection ends without DISCONNECT; nil for none.
	Will *Will
	// ReceiveMaximum bounds the QoS 1 and 2 messages in flight to the client.
	ReceiveMaximum int
	Conn           Conn
	// RemoteAddr and Listener are shown to operators.
	RemoteAddr, Listener string
	// Bytes is how much of CONNECT stays in memory: the client id, the user name and the will.
	Bytes int64

	claim *cluster.Claim // on the client id; set by Connect
	// willKnown: the will of an older connection is dealt with; set by Connect.
	willKnown bool
	memory    *Memory // for Bytes; set by Connect
}

// Will is a will message and the delay of its publication.
type Will struct {
	Message *store.Message
	Delay   time.Duration
	// By is the client that left the will. Its rights are judged when the will is due; nil: nobody is judged.
	By *auth.Principal

	memory *Memory // nil: it is small
	failed bool    // the store did not take it when it was due
}

// Subscription is one authorised filter of a SUBSCRIBE.
type Subscription struct {
	packet.Subscription
	// ID is the MQTT 5 subscription identifier; 0: none.
	ID uint32
}
