package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/cluster"
	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/meta"
)

const (
	// expireTimerMax: a sleeping session that ends sooner than this has a timer of its own. The sweep finds the others.
	expireTimerMax = 10 * time.Minute
	expireSlack    = 10 * time.Millisecond
	sweepInterval  = time.Minute
)

// expireOne ends a session if it has expired.
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
	if err != nil || m.moved(id, rec) || rec == nil || rec.Epoch != epoch || !m.due(rec) {
		return
	}
	s := m.session(id)
	if s != nil {
		s.mu.Lock()
		connected := s.conn != nil
		s.mu.Unlock()
		if connected {
			return
		}
		s.discard(true)
	}
	if err := m.end(ctx, rec, s); err != nil {
		if errors.Is(err, meta.ErrSuperseded) {
			return
		}
		m.log.Warn("removing an expired session failed; trying again later", "client", id, "error", err)
		return
	}
	m.metrics.expired.Inc()
	m.o.Events.Add(events.Event{Kind: events.SessionExpired, ClientID: id})
}

// moved drops a sleeping session from this node's memory if its client has since connected to another node, or if the session has ended
// there. rec is its record. Called with the client's lock held.
func (m *Manager) moved(id string, rec *meta.Session) bool {
	s := m.session(id)
	if s == nil || !s.durable() || !s.detached() || rec != nil && rec.Epoch <= s.epoch {
		return false
	}
	s.discard(false)
	return true
}

// asleep returns the epochs of the sessions in memory whose clients are away.
func (m *Manager) asleep() map[string]int64 {
	all := make(map[string]int64)
	for _, s := range m.inMemory() {
		s.mu.Lock()
		if s.durable() && s.conn == nil {
			all[s.id] = s.epoch
		}
		s.mu.Unlock()
	}
	return all
}

// expireLoop ends sessions that have expired, until the manager closes. Sessions that a crash of this node left as connected expire as if
// their clients had left when this process started. Those of a node that is gone expire as if their clients had left in the sweep that
// first found it gone; the node that decides about a client id records that in the next sweep.
func (m *Manager) expireLoop() {
	defer m.wg.Done()
	started := m.started
	var gone absences
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(sweepInterval):
		}
		var due, orphans, left []*meta.Session
		before := gone
		gone = absences{}
		asleep := m.asleep()
		err := m.o.Meta.EachSessionState(m.ctx, func(rec *meta.Session) error {
			if epoch, here := asleep[rec.ClientID]; here && rec.Epoch <= epoch {
				delete(asleep, rec.ClientID)
			}
			switch {
			case m.due(rec):
				due = append(due, rec)
			case rec.Node == m.o.NodeID && rec.Disconnected.IsZero() && rec.Connected.Before(started) && m.session(rec.ClientID) == nil:
				orphans = append(orphans, rec)
			case rec.Node != m.o.NodeID && rec.Disconnected.IsZero() && m.stillGone(rec.Node, before, gone) &&
				m.o.Cluster.Decides(rec.ClientID):
				left = append(left, rec)
			}
			return nil
		})
		if err != nil {
			gone = before
			continue // callers that need the metadata more log the failure
		}
		for id, epoch := range asleep { // its record is newer, or gone
			m.expireOne(id, epoch)
		}
		for _, rec := range due {
			m.expireOne(rec.ClientID, rec.Epoch)
		}
		for _, rec := range orphans {
			m.adopt(rec, started)
		}
		m.adoptAll(left, gone)
	}
}

// absences are the nodes that a sweep asked about: since when each has been gone, or the zero time if it was not.
type absences map[string]time.Time

// stillGone reports whether a node was gone in the last sweep and is so in this one. It asks once a sweep.
func (m *Manager) stillGone(node string, last, now absences) bool {
	since, asked := now[node]
	if !asked {
		if !m.o.Cluster.Fenced() && m.gone(node) {
			since = last[node]
			if since.IsZero() {
				since = time.Now()
			}
		}
		now[node] = since
	}
	return !since.IsZero() && since.Equal(last[node])
}

// adoptAll adopts sessions of nodes that are gone, several at a time.
func (m *Manager) adoptAll(sessions []*meta.Session, gone absences) {
	var wg sync.WaitGroup
	defer wg.Wait()
	limit := make(chan struct{}, adoptParallel)
	for _, rec := range sessions {
		since := gone[rec.Node]
		if since.Before(rec.Connected) { // the node was back for a moment
			since = rec.Connected
		}
		limit <- struct{}{}
		if m.ctx.Err() != nil {
			return
		}
		wg.Go(func() {
			defer func() { <-limit }()
			m.adopt(rec, since)
		})
	}
}

// adoptParallel bounds how many sessions of nodes that are gone are adopted at the same time.
const adoptParallel = 16

// adopt records that the client is away, for a session that a crash left as connected. If another node had the client, adopt claims the
// client id: should that node only have been stopped, it closes the connection when it wakes.
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
	now, err := m.o.Meta.LoadSession(ctx, rec.ClientID)
	if err == nil && !sameConnection(now, rec) {
		return
	}
	if err == nil && rec.Node != m.o.NodeID && m.o.Cluster.Shared() {
		claim, refused := m.o.Cluster.Claim(ctx, rec.ClientID, cluster.Want{Owner: m.claimOwner(rec.Owner())})
		if refused != nil {
			return // the client has connected; if it has not, the next sweep tries again
		}
		defer claim.Release()
		if now, err = m.o.Meta.LoadSession(ctx, rec.ClientID); err == nil && !sameConnection(now, rec) {
			return
		}
	}
	if err == nil {
		now.Disconnected = since
		err = m.o.Meta.SaveSession(ctx, now)
	}
	if err != nil && !errors.Is(err, meta.ErrSuperseded) {
		m.log.Debug("recording a disconnection failed", "client", rec.ClientID, "error", err)
	}
}

// sameConnection reports whether a record, which may be nil, is that of the connection that it was when it was listed: the session has not
// ended, and its client has not connected again.
func sameConnection(now, listed *meta.Session) bool {
	return now != nil && now.Epoch == listed.Epoch && now.Disconnected.IsZero()
}
