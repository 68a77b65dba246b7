package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/session/journal"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// Session is one client's session on this node. It ties the parts of the state to a connection: the record, what is in flight, the
// journal of QoS 2, subscriptions with their feeds.
type Session struct {
	m  *Manager
	id string

	// rec is the session's record; nil where the session ends with its connection. created is when a recorded session began.
	rec     *record.Record
	created time.Time
	// states has states of the journal stored.
	states journal.Writer

	commitMu sync.Mutex // orders commits of progress; taken before mu
	// changing is held (sent to) by whoever changes the session's subscriptions or detaches it; taken before commitMu.
	changing chan struct{}

	// mu guards all that follows, but for what has a lock of its own.
	mu sync.Mutex
	link
	// generation counts attachments and detachments, so that work begun for one connection is not finished for another.
	generation uint64
	expiry     time.Duration
	owner      meta.Owner
	mark       string // of the owner, for what is counted to it
	epoch      int64
	unowned    bool // the record could not be read, so nobody knows whose the client id is
	adopts     bool // progress that an upstream gateway committed is taken over
	will       *Will
	claim      *cluster.Claim // of the connection to the client id; nil where the node is alone by its configuration
	// claimed is the last one, also when its connection is over. It needs no lock.
	claimed atomic.Pointer[cluster.Claim]
	expire  *time.Timer

	subs    map[string]*subscription
	matcher *topic.Trie[*subscription] // made when there are many subscriptions
	matched []*subscription            // see matching
	p2p     []*feed

	out      flight.Window
	resend   []*flight.Message // of out: what the present connection was not sent yet
	inbound  flight.Inbound
	journal  journal.Journal
	noting   bool // a message waits for the journal, and all behind it
	seen     flight.Seen
	retained []retainedLine
	sent     sentValues
	// ownRetains is of what is retained for the client itself, point to point.
	ownRetains retains
	held       []heldItem

	turns     turns
	delivered atomic.Uint64
}

// link is the session's connection, or what is known of the last one.
type link struct {
	conn       Conn // nil while the client is away
	username   string
	version    packet.Version
	remoteAddr string
	listener   string
	connected  time.Time
	window     int     // QoS 1 and 2 messages that may be in flight to the client
	started    bool    // messages may flow
	full       bool    // the connection's buffer is full
	leaving    bool    // a newer connection takes over: nothing more is sent
	ending     *Ending // how the connection ends, once the client has said it
}

// heldItem is a record that was taken from a feed and could not be sent yet.
type heldItem struct {
	f    *feed
	item delivery.Item
}

// ClientID returns the session's client id.
func (s *Session) ClientID() string { return s.id }

// durable reports whether the session is recorded.
func (s *Session) durable() bool { return s.rec != nil }

// Durable reports whether the session outlives its connection as its client now wants it.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry > 0
}

// Start lets messages flow to the client. It is called once CONNACK is in the connection's buffer.
func (s *Session) Start() {
	s.mu.Lock()
	s.forgoWithdrawn()
	s.started = true
	s.resend = s.out.InOrder()
	s.mu.Unlock()
	s.wake()
}

// Writable is called by the connection when its buffer has room again.
func (s *Session) Writable() {
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	s.wake()
}

// dirty notes that there may be progress to commit.
func (s *Session) dirty() { s.m.commits.add(s) }

// Lost reports whether another node has the session. It takes no lock.
func (s *Session) Lost() bool { return s.claimed.Load().Lost() }

// Held reports whether nothing may be sent, stored, acknowledged or committed for the session: another node has it, or may have it,
// because this one is fenced. It takes no lock.
func (s *Session) Held() bool { return s.m.o.Cluster.Fenced() || s.Lost() }

// awaitHeld waits until the session is not held any more. It fails where another node has it, and when the context ends.
func (s *Session) awaitHeld(ctx context.Context) error {
	for s.Held() {
		if s.Lost() {
			return errLost
		}
		if err := wait.For(ctx, heldLook); err != nil {
			return err
		}
	}
	return nil
}

// heldLook is how often it is looked whether a session is still held.
const heldLook = 50 * time.Millisecond

// errLost says that another node has the session.
var errLost = errors.New("another node has the session")

// detached reports whether the session has no connection.
func (s *Session) detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil
}
