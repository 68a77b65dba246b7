package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Session is one client's session on this node.
type Session struct {
	m  *Manager
	id string

	// Set when a connection is attached, constant until the next.
	username   string
	version    packet.Version
	remoteAddr string
	listener   string
	connected  time.Time

	// rec is the session's record; nil where the session ends with its connection. created is when a recorded session began.
	rec     *record.Record
	created time.Time

	commitMu sync.Mutex // orders commits of progress; taken before mu
	// changing is held (sent to) by whoever changes the session's subscriptions or detaches it; taken before commitMu.
	changing chan struct{}

	mu   sync.Mutex
	conn Conn // nil while the client is away
	// generation counts attachments and detachments, so that work begun for one connection is not finished for another.
	generation uint64
	started    bool
	expiry     time.Duration
	epoch      int64
	adopts     bool // progress that an upstream gateway committed is taken over
	will       *Will
	ending     *Ending // how the connection ends, once the client has said it
	window     int
	full       bool // the connection's buffer is full
	noting     bool // a message waits for the journal, and all behind it

	subs    map[string]*subscription
	matcher *topic.Trie[*subscription] // made when there are many subscriptions
	p2p     []*feed

	out      outbound
	resend   []*outMessage // of out: what the present connection was not sent yet
	inbound  map[uint16]*inbound
	journal  journal
	seen     seenSet
	retained []retainedLine
	// ownRetains is of what is retained for the client itself, point to point.
	ownRetains retains
	held       []heldItem

	expire    *time.Timer
	delivered atomic.Uint64

	readyMu sync.Mutex
	ready   []*feed
	running bool
	again   bool
}

// subscription is one filter of the session, with the feeds that bring its records.
type subscription struct {
	filter string
	// reads is the filter whose records it brings: filter, or what is behind "$share/{group}/" of a shared subscription.
	reads   string
	group   string // of a shared subscription, else empty
	qos     byte
	options packet.Subscription
	id      uint32
	created time.Time
	starts  map[string]int64 // durable: first offset by broker
	opening bool             // its feeds are not complete yet
	feeds   []*feed
	retains retains
}

// heldItem is a record that was taken from a feed and could not be sent yet.
type heldItem struct {
	f    *feed
	item delivery.Item
}

// ClientID returns the session's client id.
func (s *Session) ClientID() string { return s.id }

// wake makes the pump run.
func (s *Session) wake() {
	s.readyMu.Lock()
	start := !s.running
	s.running, s.again = true, true
	s.readyMu.Unlock()
	if start {
		s.m.run(s.pump)
	}
}

// feedReady makes the pump read a feed. It is called with locks of package delivery held.
func (s *Session) feedReady(f *feed) {
	s.readyMu.Lock()
	if !f.queued {
		f.queued = true
		s.ready = append(s.ready, f)
	}
	start := !s.running
	s.running, s.again = true, true
	s.readyMu.Unlock()
	if start {
		s.m.run(s.pump)
	}
}

// nextFeed takes the first ready feed.
func (s *Session) nextFeed() *feed {
	s.readyMu.Lock()
	defer s.readyMu.Unlock()
	if len(s.ready) == 0 {
		s.ready = nil
		return nil
	}
	f := s.ready[0]
	s.ready[0] = nil
	s.ready = s.ready[1:]
	f.queued = false
	return f
}

// Writable is called by the connection when its buffer has room again.
func (s *Session) Writable() {
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	s.wake()
}

// Start lets messages flow to the client. It is called once CONNACK is in the connection's buffer.
func (s *Session) Start() {
	s.mu.Lock()
	s.started = true
	s.resend = s.out.inOrder()
	s.mu.Unlock()
	s.wake()
}

// matching calls f for each subscription of the session, but for shared ones, that matches a topic name. Called with mu held.
func (s *Session) matching(name string, f func(*subscription)) {
	if s.matcher != nil {
		s.matcher.Match(name, f)
		return
	}
	for filter, sub := range s.subs {
		if !sub.shared() && topic.Match(filter, name) {
			f(sub)
		}
	}
}

// manySubscriptions is from when on a session looks its subscriptions up in a trie.
const manySubscriptions = 16

func (s *Session) addSubscription(sub *subscription) {
	if s.subs == nil {
		s.subs = make(map[string]*subscription, 1)
	}
	s.subs[sub.filter] = sub
	switch {
	case s.matcher != nil:
		if !sub.shared() {
			s.matcher.Add(sub.filter, sub)
		}
	case len(s.subs) >= manySubscriptions:
		s.matcher = topic.NewTrie[*subscription]()
		for filter, sub := range s.subs {
			if !sub.shared() {
				s.matcher.Add(filter, sub)
			}
		}
	}
}

func (s *Session) removeSubscription(sub *subscription) {
	delete(s.subs, sub.filter)
	if s.matcher != nil && !sub.shared() {
		s.matcher.Remove(sub.filter, sub)
	}
}

// eachFeed calls f for every feed. Called with mu held.
func (s *Session) eachFeed(f func(*feed)) {
	for _, fd := range s.p2p {
		f(fd)
	}
	for _, sub := range s.subs {
		for _, fd := range sub.feeds {
			f(fd)
		}
	}
}

// detached reports whether the session has no connection.
func (s *Session) detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil
}

// durable reports whether the session is recorded.
func (s *Session) durable() bool { return s.rec != nil }

// Durable reports whether the session outlives its connection as its client now wants it.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry > 0
}
