package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Request describes a connection before authentication.
type Request struct {
	ClientID    string
	Username    string
	HasUsername bool
	Password    []byte
	HasPassword bool
	// Version is MQTT's protocol level: 3 (3.1), 4 (3.1.1) or 5.
	Version byte
	// Listener is "tcp", "tls", "ws", "wss" or "unix".
	Listener string
	// RemoteAddr is the client's host:port.
	RemoteAddr string
	// PeerCertificates is the verified chain of the client's certificate, leaf first; empty if it presented none.
	PeerCertificates []*x509.Certificate
}

// Reason says why a client was refused; it determines the CONNACK code.
type Reason uint8

// The reasons, with the CONNACK code for MQTT 3.1.1 and for MQTT 5.
const (
	OK             Reason = iota // 0x00, 0x00
	BadCredentials               // 0x04, 0x86
	NotAuthorized                // 0x05, 0x87
	BadClientID                  // 0x02, 0x85
	Banned                       // 0x05, 0x8A
	Unavailable                  // 0x03, 0x88
	BadMethod                    // -, 0x8C: no such method of enhanced authentication
)

var reasonNames = [...]string{"ok", "bad credentials", "not authorized", "bad client id", "banned", "unavailable",
	"bad authentication method"}

// String returns the reason as it is logged.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Denied is the error with which Authenticate refuses a client.
type Denied struct {
	Reason Reason
	// Detail is for logs only, without secrets.
	Detail string
}

// Error implements error.
func (d *Denied) Error() string {
	if d.Detail == "" {
		return "refused: " + d.Reason.String()
	}
	return "refused: " + d.Reason.String() + ": " + d.Detail
}

// ActionKind is a kind of action.
type ActionKind uint8

// The kinds of action.
const (
	Publish ActionKind = iota + 1
	Subscribe
)

// String returns the kind as it is logged.
func (k ActionKind) String() string {
	switch k {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	}
	return fmt.Sprintf("action %d", uint8(k))
}

// Action is one action that a client requests.
type Action struct {
	Kind ActionKind
	// Topic is the topic name of a publish, or the filter of a subscribe (for a shared subscription without "$share/group/").
	Topic  string
	QoS    byte
	Retain bool
	// ShareGroup is the group of a shared subscription; empty otherwise.
	ShareGroup string
}

// Revocation names the clients whose trust has ended. A client must match all fields that are set; if none is set, every client matches.
type Revocation struct {
	ClientID, Username, Identity string
	// Disconnect also closes their connections. Cached decisions are dropped in any case, before the functions of OnRevoke are called.
	Disconnect bool
	// Detail is for the log.
	Detail string
}

// Authority authenticates and authorises clients. Its methods are safe for concurrent use.
type Authority interface {
	// Authenticate admits a client or returns a *Denied error. It returns no other error.
	Authenticate(ctx context.Context, req Request) (*Principal, error)
	// Begin begins an enhanced authentication (MQTT 5, 4.12) by a method; reauthenticate says that the client is already connected. If the
	// method does not exist, Begin returns a *Denied error.
	Begin(req Request, method string, reauthenticate bool) (Exchange, error)
	// Authorize decides about one action of an admitted client. An error (with allowed false) means that no decision was possible; the
	// action must not be executed. Denials are logged here.
	Authorize(ctx context.Context, p *Principal, action Action) (bool, error)
	// AuthorizeAll decides about several actions with one request; the answers are in the order of the actions. On an error nothing is
	// allowed. until is when the first of the answers expires; the zero time if all stay valid until OnDoubt says otherwise.
	AuthorizeAll(ctx context.Context, p *Principal, actions []Action) (allowed []bool, until time.Time, err error)
	// OnRevoke registers a function that is called with each revocation. It must not block.
	OnRevoke(fn func(Revocation))
	// OnDoubt registers a function that is called when earlier decisions may no longer be right: after each revocation, when another plugin
	// or another process of the plugin takes over, and when revocations may have been missed. The Revocation says which clients it
	// concerns, and whether to disconnect them. The function must not block.
	OnDoubt(fn func(Revocation))
}

// Client is the plugin client that Auth calls.
type Client = pluginv1.AuthClient

// StaleAllowance is how long a cached decision may outlive its expiry while the plugin cannot be reached.
const StaleAllowance = 60 * time.Second
