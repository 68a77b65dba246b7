package session

import (
	"context"
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
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
}

// moved drops a session from memory that sleeps here, and whose client has connected to another node since, or which has ended there.
// rec is its record. Called with the client's lock held.
func (m *Manager) moved(id string, rec *meta.Session) bool {
	s := m.session(id)
	if s == nil || !s.durable() || !s.detached() || rec != nil && rec.Epoch <= s.epoch {
		return false
	}
	s.discard(false)
	return true
}

// asleep lists the epochs of sessions in memory whose clients are away.
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

// expireLoop finds sessions whose time is over, until the manager closes. It begins with those that a crash of this node
// left as connected: their time runs from the start.
func (m *Manager) expireLoop() {
	defer m.wg.Done()
	started := m.started
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(sweepInterval):
		}
		var due, orphans []*meta.Session
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
			}
			return nil
		})
		if err != nil {
			continue // logged by whoever needs the metadata more
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
	now, err := m.o.Meta.LoadSession(ctx, rec.ClientID)
	if err == nil && (now == nil || now.Epoch != rec.Epoch) {
		return // ended, or connected elsewhere
	}
	if err == nil {
		now.Disconnected = since
		err = m.o.Meta.SaveSession(ctx, now)
	}
	if err != nil && !errors.Is(err, meta.ErrSuperseded) {
		m.log.Debug("recording a disconnection failed", "client", rec.ClientID, "error", err)
	}
}
