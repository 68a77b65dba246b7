package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Request is what is known of a connection before anyone is trusted.
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
	// PeerCertificates is the verified chain of the client's certificate, leaf first; empty where it presented none.
	PeerCertificates []*x509.Certificate
}

// Reason says why a client was refused, in the words that the CONNACK codes are chosen from.
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

// String is the reason as it is logged.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Denied is the error with which Authenticate refuses a client.
type Denied struct {
	Reason Reason
	// Detail says more, for logs only, without any secret.
	Detail string
}

// Error implements error.
func (d *Denied) Error() string {
	if d.Detail == "" {
		return "refused: " + d.Reason.String()
	}
	return "refused: " + d.Reason.String() + ": " + d.Detail
}

// ActionKind is what a client wants to do.
type ActionKind uint8

// The kinds of action.
const (
	Publish ActionKind = iota + 1
	Subscribe
)

// String is the kind as it is logged.
func (k ActionKind) String() string {
	switch k {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	}
	return fmt.Sprintf("action %d", uint8(k))
}

// Action is one thing that a client wants to do.
type Action struct {
	Kind ActionKind
	// Topic is the topic name of a publish, or the filter of a subscribe (of a shared subscription: without "$share/group/").
	Topic  string
	QoS    byte
	Retain bool
	// ShareGroup is the group of a shared subscription; empty otherwise.
	ShareGroup string
}

// Revocation says whose trust has ended. Fields that are set must all match a client; none set means every client.
type Revocation struct {
	ClientID, Username, Identity string
	// Disconnect: close their connections as well. Cached decisions are dropped in any case, before OnRevoke is called.
	Disconnect bool
	// Detail is for the log.
	Detail string
}

// Authority decides. Its methods may be called from many goroutines at once.
type Authority interface {
	// Authenticate admits a client, or answers a *Denied error. No other error is returned.
	Authenticate(ctx context.Context, req Request) (*Principal, error)
	// Begin begins an enhanced authentication (MQTT 5, 4.12) by a method; reauthenticate says that the client is connected
	// already. It answers a *Denied error where there is no such method.
	Begin(req Request, method string, reauthenticate bool) (Exchange, error)
	// Authorize judges one action of an admitted client. An error (then allowed is false) means that nobody could decide; the
	// action must not be done. Denials are logged here.
	Authorize(ctx context.Context, p *Principal, action Action) (bool, error)
	// AuthorizeAll judges several actions with one question; the answers are in the order of the actions. On an error nothing
	// is allowed. until is when one of the answers is not good any more; the zero time where all stay good until OnDoubt says otherwise.
	AuthorizeAll(ctx context.Context, p *Principal, actions []Action) (allowed []bool, until time.Time, err error)
	// OnRevoke registers a function that is called with each revocation. It must not block.
	OnRevoke(fn func(Revocation))
	// OnDoubt registers a function that is called when what was decided about clients may not be right any more: after each revocation,
	// when another plugin or another process of it answers, and when revocations may have been missed. The Revocation says whom it is
	// about, and whether somebody has to be disconnected. It must not block.
	OnDoubt(fn func(Revocation))
}

// Client is the part of pluginv1.AuthClient that an Authority over a plugin needs.
type Client = pluginv1.AuthClient

// StaleAllowance is how long a cached decision may outlive its expiry while the plugin cannot be reached.
const StaleAllowance = 60 * time.Second
