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
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// Session is one client's session on this node. It ties the parts of the state to a connection: the record, the messages in flight, the
// journal of QoS 2, and the subscriptions with their feeds.
type Session struct {
	m  *Manager
	id string

	// rec is the session's record; nil if the session ends with its connection. created is when a recorded session began.
	rec     *record.Record
	created time.Time
	// states stores the states of the journal.
	states journal.Writer

	// committing is held (by sending to it) while progress is committed, changing while the session's subscriptions change or the session
	// is detached. changing is taken before committing, and both before mu.
	committing, changing chan struct{}

	// mu guards everything below, except what has a lock of its own.
	mu sync.Mutex
	link
	// generation counts attachments and detachments, so that work begun for one connection is not finished for another.
	generation uint64
	expiry     time.Duration
	owner      meta.Owner
	mark       string // of the owner; resources are counted under it
	epoch      int64
	unowned    bool // the record could not be read, so the owner of the client id is unknown
	adopts     bool // take over progress that an upstream gateway committed
	will       *Will
	claim      *cluster.Claim // of the connection on the client id; nil if the node is configured to be alone
	// claimed is the latest claim, even after its connection has ended. It needs no lock.
	claimed atomic.Pointer[cluster.Claim]
	// gone is set when the session leaves the node's memory: from then on, whoever loads it writes for it.
	gone   atomic.Bool
	expire *time.Timer

	subs    map[string]*subscription
	matcher *topic.Trie[*subscription] // built once there are many subscriptions
	matched []*subscription            // see matching
	p2p     []*feed

	out      flight.Window
	resend   []*flight.Message // part of out: what was not sent on the present connection yet
	inbound  flight.Inbound
	journal  journal.Journal
	noting   bool // a message waits for the journal, and all messages behind it wait too
	seen     flight.Seen
	retained []retainedLine
	sent     sentValues
	// ownRetains concerns messages retained for the client itself, point to point.
	ownRetains retains
	held       []heldItem
	// marks are those of the brokers' logs in the record that the session was loaded from.
	marks map[string]store.Mark
	// reached is the progress in that record.
	reached map[store.QueueRef]int64

	turns     turns
	delivered atomic.Uint64
}

// link is the session's connection, or what is known about the last one.
type link struct {
	conn       Conn // nil while the client is away
	username   string
	version    packet.Version
	remoteAddr string
	listener   string
	connected  time.Time
	window     int     // limit of QoS 1 and 2 messages in flight to the client
	started    bool    // messages may be sent
	full       bool    // the connection's buffer is full
	leaving    bool    // a newer connection is taking over: send nothing more
	ending     *Ending // how the connection ends, once the client has said so

	memory *Memory // of what CONNECT leaves behind; nil: that is small
}

// heldItem is a record that was taken from a feed but could not be sent yet.
type heldItem struct {
	f    *feed
	item delivery.Item
}

// ClientID returns the session's client id.
func (s *Session) ClientID() string { return s.id }

// durable reports whether the session is recorded.
func (s *Session) durable() bool { return s.rec != nil }

// Durable reports whether the client wants the session to outlive its present connection.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry > 0
}

// Start allows messages to be sent to the client. Call it once CONNACK is in the connection's buffer.
func (s *Session) Start() {
	s.mu.Lock()
	s.forgoWithdrawn()
	s.started = true
	s.resend = s.out.InOrder()
	s.noteAgain()
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

// dirty marks the session as possibly having progress to commit.
func (s *Session) dirty() { s.m.commits.add(s) }

// Lost reports whether another node has taken over the session, or the session has left this node's memory. It takes no lock.
func (s *Session) Lost() bool { return s.gone.Load() || s.claimed.Load().Lost() }

// Held reports whether nothing may be sent, stored, acknowledged or committed for the session, because another node has it, or may have it
// while this node is fenced. It takes no lock.
func (s *Session) Held() bool { return s.m.o.Cluster.Fenced() || s.Lost() }

// Ownership says whether one connection of a session owns the client id. Unlike the session, it knows nothing of newer connections.
type Ownership struct {
	cluster *cluster.Cluster
	claim   *cluster.Claim
}

// Ownership returns that of the connection that was attached last. It takes no lock.
func (s *Session) Ownership() Ownership { return Ownership{s.m.o.Cluster, s.claimed.Load()} }

// Lost reports whether another node has taken the client from the connection.
func (o Ownership) Lost() bool { return o.claim.Lost() }

// Held reports whether nothing that came over the connection may be stored or acknowledged now.
func (o Ownership) Held() bool { return o.cluster.Fenced() || o.claim.Lost() }

// awaitHeld waits until the session is no longer held. It fails if another node has the session, or when ctx ends.
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

// heldLook is the interval between two looks whether a session is still held.
const heldLook = 50 * time.Millisecond

// errLost says that another node has the session.
var errLost = errors.New("another node has the session")

// detached reports whether the session has no connection.
func (s *Session) detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil
}
