package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Connect attaches a connection to its session: an older connection of the client id is closed first, then the session is
// resumed or begun. It returns whether a session was present. An error means that the client must be refused as "server
// unavailable".
func (m *Manager) Connect(ctx context.Context, r Request) (*Session, bool, error) {
	unlock, err := m.lock(ctx, r.ClientID)
	if err != nil {
		return nil, false, fmt.Errorf("waiting for the older connection of client %q: %w", r.ClientID, err)
	}
	defer unlock()
	old := m.session(r.ClientID)
	if old != nil {
		old.takeOver(ctx)
		old = m.session(r.ClientID) // it may have ended
	}
	m.cancelWill(r.ClientID, r.CleanStart)
	for try := 1; ; try++ {
		s, present, err := m.admit(ctx, r, old)
		if !errors.Is(err, meta.ErrConflict) || try == connectTries {
			return s, present, err
		}
		// Another node wrote the session meanwhile: it is loaded again, and this connection is the newer one still.
		old = nil
	}
}

// connectTries bounds how often a session is loaded again that others are changing.
const connectTries = 6

// admit loads the session and gives it the connection. old is the session where it is in memory, without a connection; it is not any
// more after an error. Called with the client's lock held.
func (m *Manager) admit(ctx context.Context, r Request, old *Session) (*Session, bool, error) {
	rec, err := m.load(ctx, r)
	reachable := err == nil
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
		s = m.newSession(r, rec)
	}
	a := attachment{fresh: rec == nil, resumed: old != nil, reachable: reachable}
	if err := s.attach(ctx, r, a); err != nil {
		s.discard(false)
		return nil, false, err
	}
	return s, !a.fresh, nil
}

// newSession makes a session that is not in memory. rec is its record where it is resumed.
func (m *Manager) newSession(r Request, rec *meta.Session) *Session {
	s := &Session{m: m, id: r.ClientID, changing: make(chan struct{}, 1)}
	if rec == nil && r.Expiry > 0 {
		rec = &meta.Session{ClientID: s.id, Created: time.Now()}
	}
	if rec != nil {
		s.rec, s.created, s.epoch = record.New(m.o.Meta, rec), rec.Created, rec.Epoch
	}
	return s
}

// load reads a session's record. A client that wants no session does not wait long for it.
func (m *Manager) load(ctx context.Context, r Request) (*meta.Session, error) {
	if r.Expiry == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
	}
	return m.o.Meta.LoadSession(ctx, r.ClientID)
}

// lookupTimeout is how long a CONNECT that wants no session waits for metadata that does not answer.
const lookupTimeout = time.Second

// due reports whether a session's time is over.
func (m *Manager) due(rec *meta.Session) bool {
	at := rec.ExpiresAt()
	return !at.IsZero() && !time.Now().Before(at)
}

// attachment says what kind of session a connection gets.
type attachment struct {
	fresh     bool // it begins now
	resumed   bool // it is in memory already
	reachable bool // the metadata answered
}

// attach gives the session its connection.
func (s *Session) attach(ctx context.Context, r Request, a attachment) error {
	s.mu.Lock()
	s.username, s.version, s.remoteAddr, s.listener = r.Username, r.Version, r.RemoteAddr, r.Listener
	s.connected = time.Now()
	s.conn, s.started, s.full, s.ending = r.Conn, false, false, nil
	s.generation++
	s.expiry, s.will, s.window = r.Expiry, r.Will, r.ReceiveMaximum
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
		s.recall(ctx, rec)
	}
	if s.durable() {
		if err := s.save(ctx); err != nil {
			return err
		}
		s.m.commits.add(s)
	}
	if err := s.saveWill(ctx, a.reachable); err != nil {
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
		s.retainedOnConnect(ctx)
	}
	return nil
}

// begin makes the point-to-point feeds of a new durable session.
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

// newFeeds makes the feeds of a new subscription (nil: point to point), from now on. They are placed together with others; see place.
func (s *Session) newFeeds(sub *subscription, refs []store.QueueRef) []*feed {
	feeds := make([]*feed, len(refs))
	for i, ref := range refs {
		feeds[i] = &feed{s: s, sub: sub, ref: ref, committed: -1}
	}
	return feeds
}

// place sets where new feeds start: at their queue's end, or, for a client that comes from a gateway of Apache RocketMQ MQTT (which
// keeps no record of sessions but commits to the same offsets), where it left off. Where a broker does not answer, its feeds are
// placed when it does, and leave out what is older than the subscription. It returns the last error.
func (s *Session) place(ctx context.Context, feeds []*feed) error {
	byBroker := make(map[string][]*feed)
	for _, f := range feeds {
		byBroker[f.ref.Broker] = append(byBroker[f.ref.Broker], f)
	}
	errs := make(chan error, len(byBroker))
	for broker, some := range byBroker {
		go func() { // ends with placeTimeout
			err := s.placeOn(ctx, broker, some)
			if err != nil {
				for _, f := range some {
					f.since = time.Now()
				}
			}
			errs <- err
		}()
	}
	var failed error
	for range byBroker {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

// anyPlaced reports whether a broker at least has answered, or none is needed.
func anyPlaced(feeds []*feed) bool {
	return len(feeds) == 0 || slices.ContainsFunc(feeds, func(f *feed) bool { return f.placed })
}

// placeOn places the feeds of one broker.
func (s *Session) placeOn(ctx context.Context, broker string, feeds []*feed) error {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	queues := make([]string, len(feeds))
	refs := make([]store.QueueRef, len(feeds))
	for i, f := range feeds {
		queues[i], refs[i] = f.ref.Queue, f.ref
	}
	bounds, err := s.m.o.Store.BoundsOn(ctx, broker, queues)
	if err != nil {
		return err
	}
	left := map[store.QueueRef]int64{}
	if s.adopts {
		offsets, err := s.m.o.Store.Committed(ctx, s.id, refs)
		if err != nil {
			return err
		}
		for _, o := range offsets {
			left[o.QueueRef] = o.Next
		}
	}
	for i, f := range feeds {
		at := bounds[i].Max
		if next, ok := left[f.ref]; ok && next <= at {
			at = max(bounds[i].Min, next)
		}
		f.start, f.cursor, f.acked, f.committed, f.placed = at, at, at, -1, true
	}
	return nil
}

// placeTimeout is how long one broker may take to say where a queue ends, before the others are asked.
const placeTimeout = 3 * time.Second

// restore makes the subscriptions of a recorded session. Their feeds are placed when they are opened.
func (s *Session) restore(rec *meta.Session) {
	s.subs, s.matcher, s.p2p = nil, nil, nil
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
	// Packet ids of an earlier process may still mean something to the client: begin elsewhere.
	s.out.last = uint16(s.epoch * 8191)
}

// recordedFeed makes a feed whose progress is to be asked for. Without any it begins at its start.
func recordedFeed(s *Session, sub *subscription, ref store.QueueRef, start int64) *feed {
	return &feed{s: s, sub: sub, ref: ref, start: start, cursor: start, acked: start, committed: start}
}

// placeRecorded asks for the progress of feeds that are not placed, broker by broker: one that does not answer holds up only
// its own.
func (s *Session) placeRecorded(ctx context.Context) error {
	s.mu.Lock()
	byBroker := make(map[string][]*feed)
	shared := make(map[store.QueueRef]int)
	s.eachFeed(func(f *feed) {
		if f.ref.Queue == "" {
			return
		}
		shared[f.ref]++
		if !f.placed {
			byBroker[f.ref.Broker] = append(byBroker[f.ref.Broker], f)
		}
	})
	s.mu.Unlock()
	var errs []error
	for _, feeds := range byBroker {
		refs := make([]store.QueueRef, len(feeds))
		for i, f := range feeds {
			refs[i] = f.ref
		}
		offsets, err := s.m.o.Store.Committed(ctx, s.id, refs)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the progress of client %q: %w", s.id, err))
			continue
		}
		at := make(map[store.QueueRef]int64, len(offsets))
		for _, o := range offsets {
			at[o.QueueRef] = o.Next
		}
		s.mu.Lock()
		for _, f := range feeds {
			if next, ok := at[f.ref]; ok && !f.placed {
				if shared[f.ref] > 1 {
					next = max(next, f.start) // it may be the progress of an older subscription
				}
				f.cursor, f.acked, f.committed = next, next, next
				f.since = time.Time{}
			}
			f.placed = true
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// openFeeds opens the feeds of a connection: what is ready at once now, the rest as soon as the store allows. look says whether
// queues may have come into being while the session slept.
func (s *Session) openFeeds(look bool) {
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.m.ctx, openTimeout)
	err := s.tryOpen(ctx, generation, look)
	cancel()
	if err != nil {
		s.m.log.Warn("opening a session's queues failed; trying again", "client", s.id, "error", err)
		s.m.run(func() { s.keepOpening(generation, look) })
	}
}

// openTimeout is how long CONNECT waits for the store before it goes on without.
const openTimeout = 2 * time.Second

func (s *Session) keepOpening(generation uint64, look bool) {
	for wait := retryDelay; ; wait = min(2*wait, 10*time.Second) {
		select {
		case <-s.m.ctx.Done():
			return
		case <-time.After(wait):
		}
		ctx, cancel := context.WithTimeout(s.m.ctx, 5*openTimeout)
		err := s.tryOpen(ctx, generation, look)
		cancel()
		if err == nil {
			return
		}
	}
}

// tryOpen opens what is not open yet. It returns nil as well when the connection is another one now.
func (s *Session) tryOpen(ctx context.Context, generation uint64, look bool) error {
	var errs []error
	if look && s.durable() {
		errs = append(errs, s.lookForQueues(ctx))
	}
	if s.durable() {
		errs = append(errs, s.placeRecorded(ctx))
	}
	s.mu.Lock()
	if s.generation != generation || s.conn == nil {
		s.mu.Unlock()
		return nil
	}
	var queues []*feed
	var tails []*subscription
	s.eachFeed(func(f *feed) {
		if f.reader == nil && f.placed && f.ref.Queue != "" {
			queues = append(queues, f)
		}
	})
	for _, sub := range s.subs {
		if !sub.hasTail() {
			tails = append(tails, sub)
		}
	}
	p2p := !s.durable() && len(s.p2p) == 0
	s.mu.Unlock()
	if p2p {
		f := &feed{s: s}
		r, err := s.m.o.Hub.LiveP2P(ctx, s.id, f)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.generation != generation {
			s.mu.Unlock()
			r.Close()
			return nil
		}
		f.reader = r
		s.p2p = append(s.p2p, f)
		s.mu.Unlock()
		s.feedReady(f)
		s.retainedOnConnect(ctx)
	}
	for _, sub := range tails {
		open := func() error { return s.openTailFeed(ctx, sub, s.m.o.Hub.Loose) }
		if sub.shared() {
			open = func() error { return s.reopenGroupFeed(ctx, sub) }
		}
		if err := open(); err != nil {
			errs = append(errs, fmt.Errorf("filter %q: %w", sub.filter, err))
		}
	}
	for _, f := range queues {
		if err := s.openQueueFeed(ctx, f); err != nil {
			errs = append(errs, fmt.Errorf("queue %q on %q: %w", f.ref.Queue, f.ref.Broker, err))
		}
	}
	return errors.Join(errs...)
}

func (sub *subscription) hasTail() bool {
	for _, f := range sub.feeds {
		if f.ref.Queue == "" {
			return true
		}
	}
	return false
}
