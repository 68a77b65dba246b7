package session

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Ending says how a connection ended.
type Ending struct {
	// Graceful: the client sent DISCONNECT, so its will is dropped.
	Graceful bool
	// Expiry replaces the session expiry (MQTT 5, 3.14.2.2.2); nil keeps it.
	Expiry *time.Duration
	// Moved: the node has sent the client to another node. The will waits until the client has had time to get there.
	Moved bool
}

// Ends records how a connection is about to end. It must be called before the client can notice the end: the client may reconnect at once,
// and that must not look like a takeover.
func (s *Session) Ends(c Conn, e Ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.ending = &e
	}
}

// Detach ends a connection of the session. It commits progress, publishes or drops the will, and puts the session to sleep or ends it. It
// does nothing if another connection has taken over.
func (s *Session) Detach(c Conn, e Ending) {
	ctx, cancel := context.WithTimeout(context.Background(), detachTimeout)
	defer cancel()
	unlock, err := s.m.lock(ctx, s.id)
	if err != nil {
		return // the node is stopping, or a takeover, which detaches the session itself, takes long
	}
	defer unlock()
	s.detach(ctx, c, e)
}

// detachTimeout bounds the store and metadata calls of one detachment.
const detachTimeout = 10 * time.Second

// takeOver closes the session's connection because a newer one came. Called with the client's lock held.
func (s *Session) takeOver(ctx context.Context) {
	s.mu.Lock()
	c, remote := s.conn, s.remoteAddr
	s.mu.Unlock()
	if c == nil {
		return
	}
	s.m.metrics.takeovers.Inc()
	s.m.o.Events.Add(events.Event{Kind: events.SessionTakenOver, ClientID: s.id, Reason: "the client connected again"})
	s.m.log.Info("client connected again; closing its older connection", "client", s.id, "remote", remote)
	s.lastAcks()
	c.Close(packet.SessionTakenOver, "another connection uses this client id")
	s.detach(ctx, c, Ending{})
}

// shutdown detaches the session because the node stops.
func (s *Session) shutdown(ctx context.Context) {
	unlock, err := s.m.lock(ctx, s.id)
	if err != nil {
		return
	}
	defer unlock()
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.Close(packet.ServerShuttingDown, "server is shutting down")
	}
	s.detach(ctx, c, Ending{})
	s.mu.Lock()
	s.forsake(false)
	s.out.Release()
	s.mu.Unlock()
}

// detach is Detach with the client's lock held.
func (s *Session) detach(ctx context.Context, c Conn, e Ending) {
	s.mu.Lock()
	if c == nil || s.conn != c {
		s.mu.Unlock()
		return
	}
	s.conn, s.started, s.resend = nil, false, nil
	s.generation++
	if s.ending != nil {
		e, s.ending = *s.ending, nil
	}
	if e.Expiry != nil && s.durable() {
		s.expiry = *e.Expiry
	}
	s.rewind()
	s.leaveGroups()
	will, claim := s.will, s.claim
	s.will, s.claim = nil, nil
	ends := s.expiry == 0
	s.mu.Unlock()
	defer s.m.release(ctx, s.id, claim, c) // only after everything is committed and recorded
	s.m.mu.Lock()
	s.m.online--
	closing := s.m.closed || s.m.draining
	s.m.mu.Unlock()

	// Finish first what the connection was doing: the next node that loads the session finds all of it, and nothing is written later.
	done := s.change(ctx)
	defer done()
	if s.durable() && !ends && !claim.Lost() {
		// While this node is fenced, another node may have committed more. The record is safe: its epoch protects it.
		if !s.m.o.Cluster.Fenced() {
			s.level(ctx)
			if err := s.commit(ctx); err != nil {
				s.m.log.Warn("committing a session's progress failed; what it acknowledged last may come again",
					"client", s.id, "error", err)
			}
		}
		s.rec.Update(func(r *meta.Session) { r.Disconnected = time.Now() })
		if err := s.save(ctx); err != nil && !errors.Is(err, meta.ErrSuperseded) {
			s.m.log.Warn("recording a disconnection failed", "client", s.id, "error", err)
		}
	}
	switch {
	case will == nil:
	case e.Graceful:
		s.m.dropWill(ctx, s.id)
	case closing: // published by this node after a restart, or by another one if this one does not come back; see NodeLeft
	case claim.Missed(): // its client is at another node, and came there because this one did not answer
		s.m.leaveWill(s.id, will)
	case e.Moved:
		s.m.willMoves(s.id, will)
	default:
		s.m.willDue(s.id, will, s.expiry)
	}
	if ends {
		if s.durable() {
			if err := s.m.end(ctx, s.rec.Snapshot(), s); err != nil && !errors.Is(err, meta.ErrSuperseded) {
				s.m.log.Warn("removing a session's record failed", "client", s.id, "error", err)
			}
		}
		s.discard(true)
		return
	}
	s.sleep()
}

// rewind closes the readers and moves each cursor back to the first record that was not sent to the client. Called with mu held.
func (s *Session) rewind() {
	first := make(map[*feed]int64)
	for _, h := range s.held {
		if _, ok := first[h.f]; !ok {
			first[h.f] = h.item.Next - 1
		}
	}
	s.held, s.sent = nil, sentValues{}
	s.eachFeed(func(f *feed) {
		if n, ok := first[f]; ok {
			f.at.Back(n)
		}
		f.close()
	})
	if !s.durable() {
		return
	}
	s.ownRetains = retains{}
	for _, sub := range s.subs {
		sub.retains.wanted = false // from now on values come through the queues
		feeds := sub.feeds[:0]
		for _, f := range sub.feeds {
			if f.at.Ref.Queue == "" {
				f.at.Closed = true
				continue
			}
			feeds = append(feeds, f)
		}
		sub.feeds = feeds
	}
}

// sleep keeps the state that a durable session needs while its client is away, and starts the timer for its expiry.
func (s *Session) sleep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = flight.Seen{}
	if s.giveUp(); s.out.Len() == 0 && s.inbound.Len() == 0 && len(s.retained) == 0 && flight.Agree(s.progress()) {
		// The record and the committed offsets hold everything.
		s.leaveMemory()
	}
	if s.expiry < expireTimerMax {
		id, epoch := s.id, s.epoch
		s.expire = time.AfterFunc(s.expiry+expireSlack, func() { s.m.expireOne(id, epoch) })
	}
}

// discard drops the session from memory. ended says that the session is over everywhere, not only on this node.
func (s *Session) discard(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forsake(ended)
	s.out.Release()
	s.eachFeed((*feed).end)
	s.conn = nil
	s.generation++
	if s.expire != nil {
		s.expire.Stop()
	}
	s.leaveMemory()
}

// leaveMemory removes the session from the node's memory. Called with mu held.
func (s *Session) leaveMemory() {
	s.gone.Store(true)
	for _, sub := range s.subs {
		s.giveMemory(sub)
	}
	s.m.forget(s)
}

func (m *Manager) forget(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[s.id] == s {
		delete(m.sessions, s.id)
	}
	m.commits.remove(s)
}

// end removes a session for good: its record and its committed offsets. s is the session if it is in memory, else nil. Called with the
// client's lock held.
func (m *Manager) end(ctx context.Context, rec *meta.Session, s *Session) error {
	r := record.New(m.o.Meta, rec)
	if s != nil && s.durable() && s.epoch == rec.Epoch {
		r = s.rec
	}
	if err := r.Delete(ctx); err != nil {
		return err
	}
	var refs []store.QueueRef
	for broker := range record.P2PStarts(rec) {
		refs = append(refs, store.QueueRef{Queue: topic.P2PQueue(rec.ClientID), Broker: broker})
	}
	for _, sub := range rec.Subscriptions {
		for key := range sub.Start {
			refs = append(refs, refOf(sub.Filter, key))
		}
	}
	if err := m.o.Store.Forget(ctx, rec.ClientID, refs); err != nil && !errors.Is(err, context.Canceled) {
		m.log.Debug("removing committed offsets failed", "client", rec.ClientID, "error", err)
	}
	return nil
}
