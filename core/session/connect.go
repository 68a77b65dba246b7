package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Connect attaches a connection to its session. It first closes an older connection of the client id, then resumes the session or begins a
// new one. It returns whether a session was present. After an error the client must be refused with the code that Refusal returns.
func (m *Manager) Connect(ctx context.Context, r Request) (*Session, bool, error) {
	if r.Expiry > 0 && len(r.ClientID) > maxClientID {
		return nil, false, fmt.Errorf("%w: it has %d bytes, a session that outlives its connection takes up to %d",
			ErrClientID, len(r.ClientID), maxClientID)
	}
	unlock, err := m.lock(ctx, r.ClientID)
	if err != nil {
		return nil, false, fmt.Errorf("waiting for the older connection of client %q: %w", r.ClientID, err)
	}
	defer unlock()
	old := m.session(r.ClientID)
	if old != nil {
		if err := m.mayReplace(r, old); err != nil {
			return nil, false, err
		}
	}
	if err := m.holdConnect(&r, old); err != nil {
		return nil, false, err
	}
	if old != nil {
		old.takeOver(ctx)
		old = m.session(r.ClientID) // the session may have ended
	}
	var waiting *meta.Will // of the session that ends; it is pending on another node
	var delayed *delayedWill
	refuse := func(err error) (*Session, bool, error) {
		m.release(ctx, r.ClientID, r.claim, nil)
		if delayed != nil && !r.CleanStart {
			m.willAgain(r.ClientID, delayed) // the client is not back
		}
		return nil, false, err
	}
	for try := 1; ; try++ {
		rec, unread := m.load(ctx, r)
		if err := m.mayResume(r, rec); err != nil {
			return refuse(err)
		}
		if try == 1 {
			if r.claim, err = m.claim(ctx, r); err != nil {
				return nil, false, err // a delayed will stays pending
			}
			if unread == nil || m.o.AnyOwner { // the owner of the session is known
				delayed = m.cancelWill(ctx, r.ClientID, r.CleanStart)
			}
			if m.o.Cluster.Shared() {
				continue // another node may have changed the session before the claim: load it again
			}
		}
		if waiting == nil && (delayed == nil || delayed.elsewhere) && rec != nil && (r.CleanStart || m.due(rec)) {
			waiting = m.waitingWill(ctx, rec)
		}
		r.willKnown = waiting != nil || delayed != nil
		s, present, err := m.admit(ctx, r, old, rec, unread)
		if errors.Is(err, meta.ErrConflict) && try < connectTries {
			// Another writer changed the session meanwhile. Load it again: this connection is still the newest.
			old = nil
			continue
		}
		if err != nil {
			return refuse(err)
		}
		if waiting != nil {
			m.run(func() { m.publishRecorded(waiting) })
		}
		return s, present, nil
	}
}

// claim waits until this node owns the client id. From then on no other node has a connection of the client id or changes its session.
func (m *Manager) claim(ctx context.Context, r Request) (*cluster.Claim, error) {
	if m.o.Cluster == nil {
		return nil, nil //nolint:nilnil // this node is alone
	}
	return m.o.Cluster.Claim(ctx, r.ClientID, cluster.Want{Transient: r.CleanStart && r.Expiry == 0, Fresh: r.CleanStart,
		Owner: m.claimOwner(r.Owner)})
}

// Refusal returns the CONNACK code for an error of Connect, and a reason for the client.
func Refusal(err error) (code packet.Code, reason string) {
	switch {
	case errors.Is(err, ErrOwner):
		return packet.ClientIdentifierNotValid, "the client id has a session of another user"
	case errors.Is(err, ErrClientID):
		return packet.ClientIdentifierNotValid, "the client id is too long for a session that is kept"
	case errors.Is(err, cluster.ErrTakenOver):
		return packet.ServerBusy, "another connection uses this client id"
	case errors.Is(err, ErrNoMemory):
		return packet.QuotaExceeded, "there is no memory for the will, the client id and the user name"
	case errors.Is(err, meta.ErrLimit):
		return packet.QuotaExceeded, "there is no room for another session"
	default:
		return packet.ServerUnavailable, "the session is not available now"
	}
}

// connectTries bounds how often Connect reloads a session that others are changing.
const connectTries = 6

// admit attaches the connection to the session. rec is the session's record; err says why the record could not be read. old is the session
// if it is in memory without a connection; after an error it is no longer in memory. Called with the client's lock held.
func (m *Manager) admit(ctx context.Context, r Request, old *Session, rec *meta.Session, err error) (*Session, bool, error) {
	if r.claim.Lost() {
		return nil, false, cluster.ErrTakenOver
	}
	reachable, replaces := err == nil, false
	switch {
	case err != nil && (r.Expiry > 0 || old != nil && old.durable()):
		return nil, false, err
	case err != nil:
		m.log.Warn("reading the session failed; going on without, because none is wanted", "client", r.ClientID, "error", err)
	case rec != nil && (r.CleanStart || m.due(rec)):
		if err := m.end(ctx, rec, old); err != nil && (r.Expiry > 0 || errors.Is(err, meta.ErrConflict)) {
			if old != nil {
				old.discard(false)
			}
			return nil, false, err
		} else if err == nil {
			replaces = rec.Owner().Mark() == r.Owner.Mark()
		}
		rec = nil
	}
	if r.CleanStart || rec == nil || old != nil && old.epoch != rec.Epoch {
		if old != nil {
			old.discard(r.CleanStart || rec == nil)
		}
		old = nil
	}
	s := old
	if s == nil {
		s = m.newSession(r, rec, replaces)
	}
	a := attachment{fresh: rec == nil, resumed: old != nil, reachable: reachable, willKnown: r.willKnown}
	if err := s.attach(ctx, r, a); err != nil {
		s.discard(false)
		return nil, false, err
	}
	return s, !a.fresh, nil
}

// newSession makes a Session that is not in memory yet. rec is its record if the session is resumed. replaces says that the client's
// previous session was ended for it.
func (m *Manager) newSession(r Request, rec *meta.Session, replaces bool) *Session {
	s := &Session{m: m, id: r.ClientID, committing: make(chan struct{}, 1), changing: make(chan struct{}, 1)}
	s.states.Keeper = keeper{s}
	s.out.Memory = m.o.Kept
	if rec == nil && r.Expiry > 0 {
		rec = &meta.Session{ClientID: s.id, Created: time.Now(), Replaces: replaces}
	}
	if rec != nil {
		s.rec, s.created, s.epoch = record.New(m.o.Meta, rec), rec.Created, rec.Epoch
	}
	return s
}

// load reads a session's record. For a client that wants no session to outlive the connection, it waits lookupTimeout at most.
func (m *Manager) load(ctx context.Context, r Request) (*meta.Session, error) {
	if r.Expiry == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
	}
	return m.o.Meta.LoadSession(ctx, r.ClientID)
}

// lookupTimeout is how long a CONNECT that wants no lasting session waits for metadata that does not answer.
const lookupTimeout = time.Second

// due reports whether a session has expired.
func (m *Manager) due(rec *meta.Session) bool {
	at := rec.ExpiresAt()
	return !at.IsZero() && !time.Now().Before(at)
}

// attachment describes the session that a connection is attached to.
type attachment struct {
	fresh     bool // the session begins now
	resumed   bool // the session is in memory already
	reachable bool // the metadata answered
	willKnown bool // an older will is dealt with
}

// attach ties the session to its connection.
func (s *Session) attach(ctx context.Context, r Request, a attachment) error {
	s.mu.Lock()
	s.link = link{conn: r.Conn, username: r.Username, version: r.Version, remoteAddr: r.RemoteAddr, listener: r.Listener,
		connected: time.Now(), window: r.ReceiveMaximum, memory: r.memory}
	s.generation++
	s.expiry, s.will, s.owner, s.mark, s.claim = r.Expiry, r.Will, r.Owner, r.Owner.Mark(), r.claim
	s.claimed.Store(r.claim)
	s.unowned = !a.reachable && !s.m.o.AnyOwner
	s.adopts = a.fresh && !r.CleanStart && s.m.o.Catalog.Compatible()
	if s.expire != nil {
		s.expire.Stop()
		s.expire = nil
	}
	if s.durable() {
		s.epoch = max(s.epoch+1, s.connected.UnixMilli())
		s.rec.Update(func(r *meta.Session) { r.Disconnected = time.Time{} })
	}
	s.mu.Unlock()
	switch {
	case !s.durable(), a.resumed:
	case a.fresh:
		if err := s.begin(ctx); err != nil {
			return err
		}
	default:
		rec := s.rec.Snapshot()
		s.restore(rec)
		if err := s.recall(ctx, rec); err != nil {
			return err
		}
	}
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	if s.durable() {
		if err := s.save(ctx); err != nil {
			return err
		}
		s.m.commits.add(s)
	}
	if err := s.saveWill(ctx, a); err != nil {
		if a.fresh {
			s.leaveNothing(ctx)
		}
		return err
	}
	s.m.mu.Lock()
	if s.m.closed {
		s.m.mu.Unlock()
		return ErrClosed
	}
	s.m.sessions[s.id] = s
	s.m.online++
	s.m.mu.Unlock()
	s.openFeeds(!a.fresh)
	if a.fresh && s.durable() {
		s.m.o.Events.Add(events.Event{Kind: events.SessionCreated, ClientID: s.id, User: r.Username, Address: r.RemoteAddr})
		s.retainedOnConnect(ctx)
	}
	return nil
}

// leaveNothing removes the record of a new session that cannot begin after all.
func (s *Session) leaveNothing(ctx context.Context) {
	if !s.durable() || s.Lost() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*lookupTimeout)
	defer cancel()
	if err := s.m.end(ctx, s.rec.Snapshot(), s); err != nil {
		s.m.log.Warn("removing the record of a session that could not begin failed", "client", s.id, "error", err)
	}
}

// stillOurs makes sure, before the session is recorded, that no other node has it: this node may have been stopped since the claim was
// granted. While the node is fenced the answer is unknown, and the client waits.
func (s *Session) stillOurs(ctx context.Context) error {
	if s.durable() {
		if err := s.awaitHeld(ctx); err != nil && !s.Lost() {
			return fmt.Errorf("%w: %w", cluster.ErrUnanswered, err)
		}
	}
	if s.Lost() {
		return cluster.ErrTakenOver
	}
	return nil
}

// begin creates the point-to-point feeds of a new durable session.
func (s *Session) begin(ctx context.Context) error {
	refs, err := s.m.onBrokers(ctx, "", topic.P2PQueue(s.id))
	if err == nil {
		s.p2p = s.newFeeds(nil, refs)
		if err = s.place(ctx, s.p2p); anyPlaced(s.p2p) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("beginning a session: %w", err)
	}
	return nil
}

// restore recreates the subscriptions of a recorded session. Their feeds are placed when they are opened.
func (s *Session) restore(rec *meta.Session) {
	for _, sub := range s.subs {
		s.giveMemory(sub)
	}
	s.subs, s.matcher, s.p2p = nil, nil, nil
	s.marks, s.reached = record.Marks(rec), record.Progress(rec)
	for broker, start := range record.P2PStarts(rec) {
		s.p2p = append(s.p2p, recordedFeed(s, nil, store.QueueRef{Queue: topic.P2PQueue(s.id), Broker: broker}, start))
	}
	for _, rs := range rec.Subscriptions {
		sub := newSubscription(rs.Filter)
		sub.qos, sub.id, sub.created, sub.starts = rs.QoS, rs.ID, rs.Created, maps.Clone(rs.Start)
		sub.options = packet.Subscription{Filter: rs.Filter, QoS: rs.QoS, NoLocal: rs.NoLocal, RetainAsPublished: rs.RetainAsPublished,
			RetainHandling: rs.RetainHandling}
		for key, start := range rs.Start {
			sub.feeds = append(sub.feeds, recordedFeed(s, sub, refOf(rs.Filter, key), start))
		}
		s.addSubscription(sub)
	}
	// Packet ids from an earlier process may still mean something to the client, so ids start elsewhere in each epoch.
	s.out.BeginAfter(uint16(s.epoch * 8191))
}
