package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// SendResult says what became of a PUBLISH.
type SendResult uint8

// Results of Conn.SendPublish.
const (
	// Sent: it is in the connection's buffer, and there is room for more.
	Sent SendResult = iota
	// SentFull: it is in the buffer, and the buffer is full; Session.Writable is called when there is room.
	SentFull
	// TooLarge: the client does not take packets of this size; nothing was sent.
	TooLarge
	// Gone: the connection is closed.
	Gone
)

// Conn is a session's connection. None of its methods blocks.
type Conn interface {
	// Room reports whether a message with a payload of this size may be sent now, as far as the node's memory goes; where not,
	// Session.Writable is called when it may.
	Room(bytes int) bool
	// SendPublish puts a PUBLISH into the connection's buffer. Flush has it written, with what follows it.
	SendPublish(p *packet.Publish) SendResult
	Flush()
	SendAck(kind packet.Type, id uint16, code packet.Code)
	// Close ends the connection; an MQTT 5 client gets DISCONNECT with the reason first.
	Close(code packet.Code, reason string)
}

// Request is a CONNECT that was authenticated.
type Request struct {
	ClientID string
	Username string
	// Owner is who the client was admitted as; the zero Owner for anonymous clients.
	Owner   meta.Owner
	Version packet.Version
	// CleanStart begins a new session (3.1.1: CleanSession).
	CleanStart bool
	// Expiry is how long the session outlives the connection; 0: not at all; meta.NeverExpires: for ever.
	Expiry time.Duration
	// Will is published when the connection ends without DISCONNECT; nil for none.
	Will *Will
	// ReceiveMaximum bounds the QoS 1 and 2 messages in flight to the client.
	ReceiveMaximum int
	Conn           Conn
	// RemoteAddr and Listener are shown to operators.
	RemoteAddr, Listener string

	claim *cluster.Claim // the client id is this node's; set by Connect
}

// Will is a will message and how long its publication waits.
type Will struct {
	Message *store.Message
	Delay   time.Duration
	// By is the client that left it, whose rights are judged when it is due; nil: nobody is to be judged.
	By *auth.Principal
}

// Subscription is one filter of a SUBSCRIBE that was authorised.
type Subscription struct {
	packet.Subscription
	// ID is the MQTT 5 subscription identifier; 0: none.
	ID uint32
}
