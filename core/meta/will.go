package meta

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Will is what is to be published when its client's connection ends without DISCONNECT. There is one a client id.
type Will struct {
	ClientID string
	// Node that holds the connection, and the connection's epoch.
	Node    string
	Epoch   int64
	Message *store.Message
	// Delay is the MQTT 5 will delay interval, SessionExpiry the session expiry interval; the will is due at the earlier.
	Delay, SessionExpiry time.Duration
	// By is who left it, as auth.Principal.Record has it; empty: an anonymous client, or a gateway that kept nothing of it.
	By []byte
	// Owner is to whom it is counted; see Owner.Mark.
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

// SaveWill writes the will of a client, whatever was there. Durable when it returns. ErrUnavailable, ErrLimit.
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

// DeleteWill removes the will of a client; one that is not there is no error.
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

// TakeWill removes the will of a client and returns it; nil if there is none or somebody else took it. Where the backend has
// compare-and-set, exactly one taker gets it; elsewhere two that take it within milliseconds may both get it.
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

// TakeThisWill removes a will that LoadWill or EachWill gave, unless it was replaced or taken since; it reports whether it did.
func (m *Meta) TakeThisWill(ctx context.Context, w *Will) (bool, error) {
	done, err := m.removeIf(ctx, NamespaceWills, w.ClientID, w.stored)
	if done {
		m.ledger.gaveWill(w.ClientID)
	}
	return done, err
}

// EachWill calls f for every will until f fails. Records that cannot be read are logged and passed over.
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
