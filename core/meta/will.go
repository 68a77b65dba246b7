package meta

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Will is the message to publish if its client's connection ends without DISCONNECT. Each client id has at most one.
type Will struct {
	ClientID string
	// Node is the node with the connection, Epoch the connection's epoch.
	Node    string
	Epoch   int64
	Message *store.Message
	// Delay is the MQTT 5 will delay interval, SessionExpiry the session expiry interval. The will is due when the shorter one has passed.
	Delay, SessionExpiry time.Duration
	// By is the client that left it, encoded by auth.Principal.Record; empty: an anonymous client, or a gateway that did not record it.
	By []byte
	// Owner is the owner under which it is counted; see Owner.Mark.
	Owner string
	// DueAt is set once the connection has ended and the delay runs; zero before.
	DueAt time.Time

	stored stored
}

type willRecord struct {
	header
	Node          string         `json:"node"`
	Epoch         int64          `json:"epoch"`
	Message       *messageRecord `json:"message"`
	Delay         int64          `json:"delay_ms,omitempty"`
	SessionExpiry int64          `json:"session_expiry_ms,omitempty"`
	By            []byte         `json:"by,omitempty"`
	Owner         string         `json:"owner,omitempty"`
	DueAt         int64          `json:"due_at_ms,omitempty"`
}

func decodeWill(e *pluginv1.Entry, at stored) (*Will, error) {
	var r willRecord
	if err := decode(NamespaceWills, e.GetKey(), e.GetValue(), &r); err != nil {
		return nil, err
	}
	if r.Message == nil {
		r.Message = &messageRecord{}
	}
	return &Will{ClientID: e.GetKey(), Node: r.Node, Epoch: r.Epoch, Message: r.Message.message(),
		Delay: time.Duration(r.Delay) * time.Millisecond, SessionExpiry: time.Duration(r.SessionExpiry) * time.Millisecond,
		By: r.By, Owner: r.Owner, DueAt: fromMillis(r.DueAt), stored: at}, nil
}

// SaveWill writes the will of a client, overwriting an existing one. It is durable when SaveWill returns. Errors: ErrUnavailable, ErrLimit.
func (m *Meta) SaveWill(ctx context.Context, w *Will) error {
	value := encode(&willRecord{header: header{recordVersion}, Node: w.Node, Epoch: w.Epoch, Message: toMessageRecord(w.Message),
		Delay: w.Delay.Milliseconds(), SessionExpiry: w.SessionExpiry.Milliseconds(), By: w.By, Owner: w.Owner, DueAt: millis(w.DueAt)})
	if err := m.ledger.takeWill(w.ClientID, w.Owner, w.SessionExpiry > 0, sized(w.ClientID, value)); err != nil {
		return fmt.Errorf("record the will of client %q: %w", w.ClientID, err)
	}
	now, err := m.overwrite(ctx, NamespaceWills, w.ClientID, value)
	if err == nil {
		w.stored = now
	}
	return err
}

// DeleteWill removes the will of a client. Removing one that does not exist is not an error.
func (m *Meta) DeleteWill(ctx context.Context, clientID string) error {
	_, err := m.writer.write(ctx, remove(NamespaceWills, clientID))
	if err == nil {
		m.ledger.gaveWill(clientID)
	}
	return err
}

// LoadWill reads the will of a client; nil without an error if there is none.
func (m *Meta) LoadWill(ctx context.Context, clientID string) (*Will, error) {
	e, at, err := m.find(ctx, NamespaceWills, clientID)
	if err != nil || e == nil {
		return nil, err
	}
	return decodeWill(e, at)
}

// TakeWill removes the will of a client and returns it; nil if there is none or somebody else took it. If the backend has compare-and-set,
// exactly one caller gets it. On other backends, two callers within milliseconds may both get it.
func (m *Meta) TakeWill(ctx context.Context, clientID string) (*Will, error) {
	w, err := m.LoadWill(ctx, clientID)
	if err != nil || w == nil {
		return nil, err
	}
	if done, err := m.TakeThisWill(ctx, w); err != nil || !done {
		return nil, err
	}
	return w, nil
}

// TakeThisWill removes a will returned by LoadWill or EachWill unless it was replaced or taken since. It reports whether it removed the
// will.
func (m *Meta) TakeThisWill(ctx context.Context, w *Will) (bool, error) {
	done, err := m.removeIf(ctx, NamespaceWills, w.ClientID, w.stored)
	if done {
		m.ledger.gaveWill(w.ClientID)
	}
	return done, err
}

// EachWill calls f for every will until f fails. Unreadable records are logged and skipped.
func (m *Meta) EachWill(ctx context.Context, f func(*Will) error) error {
	generation := m.backend.generation()
	_, err := m.backend.list(ctx, NamespaceWills, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			w, err := decodeWill(e, seen(e, generation))
			if err != nil {
				m.invalid(NamespaceWills, e.GetKey(), err)
				continue
			}
			if err := f(w); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
