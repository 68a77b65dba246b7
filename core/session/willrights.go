package session

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
)

// Judge says what a client may do now; see auth.Authority.
type Judge interface {
	Authorize(ctx context.Context, p *auth.Principal, a auth.Action) (bool, error)
}

// What is left of a client when its connection is over is its will. Whether the client may publish it was judged at CONNECT; its rights
// may be others when the will is due. A will that nobody can judge waits, and is kept in the metadata where that takes long.

const (
	// willPatience bounds how long a will that is due waits for an answer about it.
	willPatience = 2 * time.Minute
	// askPause is how long after a question without an answer it is asked again, at first; askPauseMost at the most.
	askPause     = time.Second
	askPauseMost = 10 * time.Second
)

// mayPublish says whether the client that left a will may publish it now, and whether that had to be waited for. An error says that
// nobody could tell in time, or that the node stops.
func (m *Manager) mayPublish(w *Will) (allowed, waited bool, err error) {
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
			m.log.Warn("a will is due and cannot be judged now; it waits", "client", w.By.ClientID(), "topic", w.Message.Topic, "error", err)
		}
		waited = true
		select {
		case <-ctx.Done():
			return false, true, fmt.Errorf("judging the will: %w", err)
		case <-time.After(pause):
		}
	}
}

// isBack reports whether the client of a will that had to wait has connected again: here, or on another node, which has replaced or
// removed the record. A will that another node has published counts as well.
func (m *Manager) isBack(ctx context.Context, id string, w *Will) bool {
	if s := m.session(id); s != nil && !s.detached() {
		return true
	}
	now, err := m.o.Meta.LoadWill(ctx, id)
	return err == nil && (now == nil || now.Message.Created.UnixMilli() != w.Message.Created.UnixMilli())
}

// denyWill drops a will whose client may not publish it any more.
func (m *Manager) denyWill(ctx context.Context, id string, w *Will) {
	m.log.Warn("a will is not published: its client may not publish it any more", "client", id, "user", auth.Shown(w.By.Username()),
		"topic", w.Message.Topic)
	m.dropThisWill(ctx, id, w.Message)
}
