package session

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
)

// Judge decides what a client may do now; see auth.Authority.
type Judge interface {
	Authorize(ctx context.Context, p *auth.Principal, a auth.Action) (bool, error)
}

// A client's will outlives its connection. CONNECT checked that the client may publish the will, but its rights may have changed when the
// will is due, and an operator may have banned the client. If the judge gives no decision, the will waits; if that takes too long, the will
// stays in the metadata.

const (
	// willPatience bounds how long a due will waits for a decision.
	willPatience = 2 * time.Minute
	// askPause is the first pause before an unanswered question is repeated; askPauseMost is the longest.
	askPause     = time.Second
	askPauseMost = 10 * time.Second
)

// mayPublish reports whether the client that left a will may publish it now, and whether it had to wait for the answer. An error means that
// there was no decision in time, or that the node is stopping.
func (m *Manager) mayPublish(id string, w *Will) (allowed, waited bool, err error) {
	if m.o.Banned != nil && m.o.Banned(id, w.By) {
		return false, false, nil
	}
	if w.By == nil || m.o.Judge == nil {
		return true, false, nil
	}
	ctx, cancel := context.WithTimeout(m.ctx, willPatience)
	defer cancel()
	action := auth.Action{Kind: auth.Publish, Topic: w.Message.Topic, QoS: w.Message.QoS, Retain: w.Message.Retain}
	by := w.By.Lasting()
	for pause := askPause; ; pause = min(2*pause, askPauseMost) {
		if allowed, err = m.o.Judge.Authorize(ctx, by, action); err == nil {
			return allowed, waited, nil
		}
		if !waited {
			m.log.Warn("a will is due and cannot be judged now; it waits",
				"client", w.By.ClientID(), "topic", w.Message.Topic, "error", err)
		}
		waited = true
		select {
		case <-ctx.Done():
			return false, true, fmt.Errorf("judging the will: %w", err)
		case <-time.After(pause):
		}
	}
}

// isBack reports whether the client of a delayed will has connected again: to this node, or to another one, which has replaced or removed
// the will's record. It is also true if another node has published the will. After an error it is false: the record could not be read.
func (m *Manager) isBack(ctx context.Context, id string, w *Will) (back bool, err error) {
	if s := m.session(id); s != nil && !s.detached() {
		return true, nil
	}
	now, err := m.o.Meta.LoadWill(ctx, id)
	return err == nil && !isOf(now, w.Message), err
}

// denyWill drops a will that its client may no longer publish.
func (m *Manager) denyWill(ctx context.Context, id string, w *Will) {
	user := ""
	if w.By != nil {
		user = auth.Shown(w.By.Username())
	}
	m.log.Warn("a will is not published: its client may not publish it any more", "client", id, "user", user, "topic", w.Message.Topic)
	m.dropThisWill(ctx, id, w.Message)
}
