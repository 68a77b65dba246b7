package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// saveWill records the will of the connection that is being attached, or removes the will that an earlier connection left.
func (s *Session) saveWill(ctx context.Context, a attachment) error {
	inherits := a.fresh && !a.willKnown && s.m.o.Cluster.Shared()
	if a.reachable && (s.will == nil || inherits) {
		s.takeOlderWill(ctx, inherits)
	}
	if s.will == nil {
		return nil
	}
	w := &meta.Will{ClientID: s.id, Node: s.m.o.NodeID, Epoch: s.epoch, Message: s.will.Message, Delay: s.will.Delay,
		SessionExpiry: s.expiry, By: s.will.By.Record(), Owner: s.mark}
	if !s.durable() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*lookupTimeout)
		defer cancel()
	}
	err := s.m.o.Meta.SaveWill(ctx, w)
	if err != nil && !s.durable() {
		s.m.log.Warn("recording a will failed; it is lost if this node is", "client", s.id, "error", err)
		return nil
	}
	return err
}

// takeOlderWill removes the will that an earlier connection left. With inherits, the earlier session has ended, and its will may be this
// node's to publish if that was on another node; other wills are left to be overwritten if the session has a will.
func (s *Session) takeOlderWill(ctx context.Context, inherits bool) {
	if !s.durable() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
	}
	w, err := s.m.o.Meta.LoadWill(ctx, s.id)
	inherits = inherits && w != nil && s.inherits(w)
	if err == nil && w != nil && (inherits || s.will == nil) {
		var taken bool
		if taken, err = s.m.o.Meta.TakeThisWill(ctx, w); taken && inherits {
			s.m.inherit(w)
		}
	}
	if err != nil {
		s.m.log.Warn("removing an older will failed; it may be published after a restart", "client", s.id, "error", err)
	}
}

func (m *Manager) dropWill(ctx context.Context, id string) {
	if err := m.o.Meta.DeleteWill(ctx, id); err != nil {
		m.log.Warn("removing a will failed; it may be published after a restart", "client", id, "error", err)
	}
}

// willDue publishes a will now, or when its delay is over or its session ends, whichever comes first (MQTT 5, 3.1.3.2.2).
func (m *Manager) willDue(id string, w *Will, expiry time.Duration) {
	delay := min(w.Delay, expiry)
	if delay <= 0 {
		m.dueNow(id, w)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits(id, &delayedWill{will: w, due: time.Now().Add(delay)})
}

// dueNow publishes a will that is due at once, in a goroutine of its own.
func (m *Manager) dueNow(id string, w *Will) {
	m.mu.Lock()
	m.undecided[id]++
	m.mu.Unlock()
	decided := sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.undecided[id]--; m.undecided[id] == 0 {
			delete(m.undecided, id)
		}
	})
	if !m.run(func() {
		defer decided()
		m.publishDue(id, w, decided)
	}) {
		decided()
	}
}

// publishDue publishes a will that is due at once, and calls decided before it does. If the node is fenced, the client may have moved to
// another node because this one did not answer. Whether it has is known once the fence is lifted, so publishDue waits for that.
func (m *Manager) publishDue(id string, w *Will, decided func()) {
	if !m.o.Cluster.Fenced() {
		decided()
		m.publishWill(id, w)
		return
	}
	for m.o.Cluster.Fenced() {
		if wait.For(m.ctx, heldLook) != nil {
			return // the node is stopping; another node publishes the will
		}
	}
	if m.elsewhereNow(id, w) {
		m.leaveWill(id, w)
		return
	}
	decided()
	m.publishWill(id, w)
}

// elsewhereNow reports whether a will's client is back, as isBack does. A record that cannot be read tells nothing.
func (m *Manager) elsewhereNow(id string, w *Will) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), willTimeout)
	defer cancel()
	back, _ := m.isBack(ctx, id, w)
	return back
}

// willMoves holds back the will of a client that this node has sent to another node. The will is published if the client does not connect
// to any node.
func (m *Manager) willMoves(id string, w *Will) {
	delay := max(w.Delay, m.o.WillGrace)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits(id, &delayedWill{will: w, due: time.Now().Add(delay), moved: true})
}

// waits publishes a will when it is due. Called with mu held.
func (m *Manager) waits(id string, d *delayedWill) {
	d.timer = time.AfterFunc(time.Until(d.due), func() {
		m.mu.Lock()
		if m.wills[id] == d {
			delete(m.wills, id)
		}
		closed, elsewhere := m.closed, d.elsewhere
		if !closed {
			m.wg.Add(1)
		}
		m.mu.Unlock()
		if !closed {
			defer m.wg.Done()
			m.publishDelayed(id, d.will, elsewhere)
		}
	})
	m.wills[id] = d
}

// delayedWill is a will that waits for its delay.
type delayedWill struct {
	will  *Will
	timer *time.Timer
	due   time.Time
	moved bool // the client was sent to another node: see willMoves
	// elsewhere: the client may be back on another node. Only the will's record tells.
	elsewhere bool
}

// cancelWill stops a delayed will because its client is back [MQTT-3.1.3-9], and returns it; nil: there is none. If ends is set, the client
// begins a new session: the old session ends and its will is due.
func (m *Manager) cancelWill(ctx context.Context, id string, ends bool) *delayedWill {
	m.mu.Lock()
	w := m.wills[id]
	stopped := w != nil && w.timer.Stop()
	delete(m.wills, id)
	m.mu.Unlock()
	if !stopped || ends && w.elsewhere && !m.recordedYet(ctx, id, w.will) {
		return nil
	}
	if ends && !w.moved {
		m.run(func() { m.publishWill(id, w.will) })
	}
	return w
}

// willEndsElsewhere makes a delayed will due because its session ends: its client has begun a new one on another node.
func (m *Manager) willEndsElsewhere(id string) {
	m.mu.Lock()
	w := m.wills[id]
	stopped := w != nil && w.timer.Stop()
	delete(m.wills, id)
	m.mu.Unlock()
	if stopped && !w.moved {
		m.dueNow(id, w.will)
	}
}

// recordedYet reports whether the record of a client's will is that of a given one.
func (m *Manager) recordedYet(ctx context.Context, id string, w *Will) bool {
	now, err := m.o.Meta.LoadWill(ctx, id)
	return err == nil && isOf(now, w.Message)
}

// isOf reports whether a will's record is that of a given message; nil is no record.
func isOf(rec *meta.Will, m *store.Message) bool {
	return rec != nil && rec.Message.Created.UnixMilli() == m.Created.UnixMilli()
}

// willElsewhere deals with a delayed will whose client wants to connect to another node. It stays, because the client may not get there.
func (m *Manager) willElsewhere(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.wills[id]; d != nil {
		d.elsewhere = true
	}
}

// waitingWill returns the will of a session that is about to end, if its delay runs on another node or if it was left by a process that is
// gone; nil: there is none. Nobody else publishes this will, because the client's next connection replaces its record.
func (m *Manager) waitingWill(ctx context.Context, rec *meta.Session) *meta.Will {
	w, err := m.o.Meta.LoadWill(ctx, rec.ClientID)
	if err != nil {
		m.log.Warn("reading the will of a session that ends failed; it is not published", "client", rec.ClientID, "error", err)
		return nil
	}
	if w == nil || w.Epoch != rec.Epoch {
		return nil
	}
	switch delay := min(w.Delay, w.SessionExpiry); {
	case w.Node == m.o.NodeID:
		if w.Message.Created.Before(m.started) {
			return w
		}
	case !rec.Disconnected.IsZero() && delay > 0 && time.Since(rec.Disconnected) < delay,
		m.gone(w.Node):
		return w
	}
	return nil
}

// publishDelayed publishes a will whose delay is over, unless its client has come back on another node: that node has then removed or
// replaced the will's record [MQTT-3.1.3-9]. With elsewhere the will waits until the record can be read; see delayedWill.
func (m *Manager) publishDelayed(id string, w *Will, elsewhere bool) {
	if m.o.Cluster != nil || w.failed {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), willTimeout)
		back, err := m.isBack(ctx, id, w)
		cancel()
		switch {
		case back:
			return
		case err != nil && elsewhere:
			m.willAgain(id, &delayedWill{will: w, due: time.Now().Add(willPause), elsewhere: true})
			return
		}
	}
	m.publishWill(id, w)
}

// publishWill publishes a will if its client may still publish it. It removes the will's record only afterwards, so the will is published
// at least once.
func (m *Manager) publishWill(id string, w *Will) {
	allowed, waited, err := m.mayPublish(id, w)
	if err != nil {
		m.log.Warn("a will could not be judged; it is kept, and due again after a start",
			"client", id, "topic", w.Message.Topic, "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), willTimeout)
	defer cancel()
	if !allowed {
		m.denyWill(ctx, id, w)
		return
	}
	back := false
	if waited {
		back, _ = m.isBack(ctx, id, w) // a record that cannot be read tells nothing
	}
	if back {
		m.log.Warn("a will that could not be judged in time is not published: its client is back", "client", id, "topic", w.Message.Topic)
		m.dropThisWill(ctx, id, w.Message)
		return
	}
	msg := w.Message
	out := *msg
	out.Created = time.Now()
	if w.By != nil {
		out.Identity = meta.Owner{Name: w.By.Name(), Plugin: w.By.AdmittedBy()}.Mark()
	}
	if !msg.Expires.IsZero() { // the expiry interval runs from now
		out.Expires = out.Created.Add(msg.Expires.Sub(msg.Created))
	}
	if err := m.o.Publisher.One(ctx, id, &out); err != nil {
		m.unpublished(ctx, id, w, err)
		return
	}
	m.metrics.wills.Inc()
	m.dropThisWill(ctx, id, msg)
}

// unpublished deals with a will that could not be published. If the store did not take it, it is tried again until the client is back.
func (m *Manager) unpublished(ctx context.Context, id string, w *Will, err error) {
	switch {
	case errors.Is(err, meta.ErrLimit): // it was delivered, but is not retained; or there is no room for its first-level topic
		m.log.Warn("publishing a will failed", "client", id, "topic", w.Message.Topic, "error", err)
		m.dropThisWill(ctx, id, w.Message)
	case publish.Refused(err), errors.Is(err, meta.ErrUnavailable): // it may have been delivered, and would be at each attempt
		m.log.Warn("publishing a will failed", "client", id, "topic", w.Message.Topic, "error", err)
	default:
		if !w.failed {
			m.log.Warn("publishing a will failed; trying again", "client", id, "topic", w.Message.Topic, "error", err)
		}
		again := *w
		again.failed = true
		m.willAgain(id, &delayedWill{will: &again, due: time.Now().Add(willPause)})
	}
}

// willTimeout bounds the publication of one will.
const willTimeout = 20 * time.Second

// willPause is the pause before another attempt to publish a will that the store did not take.
const willPause = 5 * time.Second

// willAgain lets a will wait once more, unless its client has left another one meanwhile.
func (m *Manager) willAgain(id string, d *delayedWill) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed && m.wills[id] == nil {
		m.waits(id, d)
	}
}

// dropThisWill removes the record of a will that is dealt with. It leaves alone the will of a connection that came meanwhile.
func (m *Manager) dropThisWill(ctx context.Context, id string, msg *store.Message) {
	w, err := m.o.Meta.LoadWill(ctx, id)
	if err != nil || !isOf(w, msg) {
		return
	}
	if _, err := m.o.Meta.TakeThisWill(ctx, w); err != nil {
		m.log.Warn("removing a will that is done with failed; it may come again after a restart", "client", id, "error", err)
	}
}
