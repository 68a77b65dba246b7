package session

import (
	"context"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/topic"
)

const (
	// expireTimerMax is up to when a sleeping session's end has a timer of its own; later ends are found by the sweep.
	expireTimerMax = 10 * time.Minute
	expireSlack    = 10 * time.Millisecond
	sweepInterval  = time.Minute
)

// expireOne ends a session if its time is over.
func (m *Manager) expireOne(id string, epoch int64) {
	if m.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, detachTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return
	}
	defer unlock()
	rec, err := m.o.Meta.LoadSession(ctx, id)
	if err != nil || rec == nil || rec.Epoch != epoch || !m.due(rec) {
		return
	}
	if s := m.session(id); s != nil {
		s.mu.Lock()
		connected := s.conn != nil
		s.mu.Unlock()
		if connected {
			return
		}
		s.discard()
	}
	if err := m.end(ctx, rec); err != nil {
		m.log.Warn("removing an expired session failed; trying again later", "client", id, "error", err)
		return
	}
	m.metrics.expired.Inc()
}

// expireLoop finds sessions whose time is over, until the manager closes. It begins with those that a crash of this node
// left as connected: their time runs from the start.
func (m *Manager) expireLoop() {
	defer m.wg.Done()
	started := time.Now()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(sweepInterval):
		}
		var due, orphans []*meta.Session
		err := m.o.Meta.EachSession(m.ctx, func(rec *meta.Session) error {
			switch {
			case m.due(rec):
				due = append(due, rec)
			case rec.Node == m.o.NodeID && rec.Disconnected.IsZero() && rec.Connected.Before(started) && m.session(rec.ClientID) == nil:
				orphans = append(orphans, rec)
			}
			return nil
		})
		if err != nil {
			continue // logged by whoever needs the metadata more
		}
		for _, rec := range due {
			m.expireOne(rec.ClientID, rec.Epoch)
		}
		for _, rec := range orphans {
			m.adopt(rec, started)
		}
	}
}

// adopt notes that the client of a session that a crash left as connected is away.
func (m *Manager) adopt(rec *meta.Session, since time.Time) {
	ctx, cancel := context.WithTimeout(m.ctx, detachTimeout)
	defer cancel()
	unlock, err := m.lock(ctx, rec.ClientID)
	if err != nil {
		return
	}
	defer unlock()
	if m.session(rec.ClientID) != nil {
		return
	}
	rec.Disconnected = since
	if err := m.o.Meta.SaveSession(ctx, rec); err != nil {
		m.log.Debug("recording a disconnection failed", "client", rec.ClientID, "error", err)
	}
}

// watchBrokers opens feeds on brokers that joined while sessions were connected: a known subscription reads their queues from
// the beginning.
func (m *Manager) watchBrokers() {
	defer m.wg.Done()
	known := make(map[string]int) // topic -> number of brokers; "" for all
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(brokersInterval):
		}
		m.mu.Lock()
		all := make([]*Session, 0, len(m.sessions))
		for _, s := range m.sessions {
			all = append(all, s)
		}
		m.mu.Unlock()
		grown := make(map[string][]string)
		look := func(first string) {
			if _, ok := grown[first]; ok {
				return
			}
			brokers, err := m.o.Store.Brokers(m.ctx, first)
			if err != nil {
				return
			}
			grown[first] = nil
			if before, ok := known[first]; ok && len(brokers) > before {
				grown[first] = brokers
			}
			known[first] = len(brokers)
		}
		look("")
		for _, s := range all {
			for _, first := range s.firsts() {
				look(first)
			}
		}
		for _, s := range all {
			s.addBrokers(grown)
		}
	}
}

const brokersInterval = 15 * time.Second

// firsts lists the first-level topics of the session's durable subscriptions; "" for those of every topic.
func (s *Session) firsts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.durable || s.conn == nil {
		return nil
	}
	out := make([]string, 0, len(s.subs))
	for filter := range s.subs {
		if first, err := s.m.first(filter); err == nil {
			out = append(out, first)
		}
	}
	return out
}

// first names the store's topic of a filter; "" for all.
func (m *Manager) first(filter string) (string, error) {
	if topic.HasWildcardFirst(filter) {
		return "", nil
	}
	return m.o.Publisher.Resolve(topic.First(filter))
}

// addBrokers adds feeds for brokers that a topic has now and the session does not read yet.
func (s *Session) addBrokers(grown map[string][]string) {
	s.mu.Lock()
	if !s.durable || s.conn == nil {
		s.mu.Unlock()
		return
	}
	changed := false
	for _, broker := range grown[""] {
		if !hasBroker(s.p2p, broker) {
			s.p2p = append(s.p2p, s.newFeed(nil, topic.P2PQueue(s.id), broker))
			changed = true
		}
	}
	for _, sub := range s.subs {
		first, err := s.m.first(sub.filter)
		if err != nil {
			continue
		}
		for _, broker := range grown[first] {
			if !hasBroker(sub.feeds, broker) {
				sub.feeds = append(sub.feeds, s.newFeed(sub, topic.Queue(sub.filter), broker))
				changed = true
			}
		}
	}
	s.mu.Unlock()
	if changed {
		s.openFeeds()
	}
}

// newFeed makes a feed that begins at the minimum. Called with mu held.
func (s *Session) newFeed(sub *subscription, queue, broker string) *feed {
	f := &feed{s: s, sub: sub}
	f.ref.Queue, f.ref.Broker = queue, broker
	return f
}

func hasBroker(feeds []*feed, broker string) bool {
	for _, f := range feeds {
		if f.ref.Broker == broker {
			return true
		}
	}
	return false
}
