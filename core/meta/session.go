package meta

import (
	"context"
	"fmt"
	"math"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// NeverExpires is the Expiry of a session that lives until it is ended.
const NeverExpires = time.Duration(math.MaxInt64)

// Session is the record of a persistent session. Sessions are not held in memory: each method reads or writes through.
type Session struct {
	ClientID string
	Username string
	// ProtocolVersion is 3, 4 or 5, as in CONNECT.
	ProtocolVersion byte
	// Epoch orders the connections of the client id in the cluster.
	Epoch int64
	// Node is where the client is, or was last, connected.
	Node string
	// Expiry is how long the session outlives its connection; NeverExpires for ever.
	Expiry time.Duration
	// Created is when the session began, Connected when its present or last connection did. Disconnected is zero while the
	// client is connected (or its node was lost before it could say otherwise).
	Created, Connected, Disconnected time.Time
	Subscriptions                    []Subscription
	// Attributes are for callers that must remember more.
	Attributes map[string]string

	// stored is the record as it was read or last written; zero: it was not there.
	stored stored
}

// Subscription is one subscription of a session.
type Subscription struct {
	// Filter as in SUBSCRIBE, with $share/{group}/ where it is shared.
	Filter string
	QoS    byte
	// MQTT 5 subscription options (3.8.3.1) and subscription identifier (0: none).
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32
	// Created is when the client subscribed.
	Created time.Time
	// Start is the first offset that belongs to the subscription, by broker.
	Start map[string]int64
}

// ExpiresAt is when the session ends; the zero time while it is connected or if it never does.
func (s *Session) ExpiresAt() time.Time {
	if s.Disconnected.IsZero() || s.Expiry == NeverExpires {
		return time.Time{}
	}
	return s.Disconnected.Add(s.Expiry)
}

type sessionRecord struct {
	header
	Username      string               `json:"username,omitempty"`
	Protocol      byte                 `json:"protocol,omitempty"`
	Epoch         int64                `json:"epoch"`
	Node          string               `json:"node,omitempty"`
	Expiry        int64                `json:"expiry_ms"` // -1: never
	Created       int64                `json:"created_ms,omitempty"`
	Connected     int64                `json:"connected_ms,omitempty"`
	Disconnected  int64                `json:"disconnected_ms,omitempty"`
	Subscriptions []subscriptionRecord `json:"subscriptions,omitempty"`
	Attributes    map[string]string    `json:"attributes,omitempty"`
}

type subscriptionRecord struct {
	Filter            string           `json:"filter"`
	QoS               byte             `json:"qos"`
	NoLocal           bool             `json:"no_local,omitempty"`
	RetainAsPublished bool             `json:"retain_as_published,omitempty"`
	RetainHandling    byte             `json:"retain_handling,omitempty"`
	ID                uint32           `json:"id,omitempty"`
	Created           int64            `json:"created_ms,omitempty"`
	Start             map[string]int64 `json:"start,omitempty"`
}

func encodeSession(s *Session) []byte {
	r := sessionRecord{header: header{recordVersion}, Username: s.Username, Protocol: s.ProtocolVersion, Epoch: s.Epoch,
		Node: s.Node, Expiry: s.Expiry.Milliseconds(), Created: millis(s.Created), Connected: millis(s.Connected),
		Disconnected: millis(s.Disconnected), Attributes: s.Attributes}
	if s.Expiry == NeverExpires {
		r.Expiry = -1
	}
	for i := range s.Subscriptions {
		u := &s.Subscriptions[i]
		r.Subscriptions = append(r.Subscriptions, subscriptionRecord{u.Filter, u.QoS, u.NoLocal, u.RetainAsPublished,
			u.RetainHandling, u.ID, millis(u.Created), u.Start})
	}
	return encode(&r)
}

func decodeSession(e *pluginv1.Entry, at stored) (*Session, error) {
	var r sessionRecord
	if err := decode(NamespaceSessions, e.GetKey(), e.GetValue(), &r); err != nil {
		return nil, err
	}
	s := &Session{ClientID: e.GetKey(), Username: r.Username, ProtocolVersion: r.Protocol, Epoch: r.Epoch, Node: r.Node,
		Created: fromMillis(r.Created), Connected: fromMillis(r.Connected), Disconnected: fromMillis(r.Disconnected),
		Attributes: r.Attributes, stored: at}
	if s.Expiry = NeverExpires; r.Expiry >= 0 && r.Expiry < math.MaxInt64/int64(time.Millisecond) {
		s.Expiry = time.Duration(r.Expiry) * time.Millisecond
	}
	for _, u := range r.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, Subscription{u.Filter, u.QoS, u.NoLocal, u.RetainAsPublished,
			u.RetainHandling, u.ID, fromMillis(u.Created), u.Start})
	}
	return s, nil
}

// LoadSession reads a session; nil without an error if there is none. ErrUnavailable.
func (m *Meta) LoadSession(ctx context.Context, clientID string) (*Session, error) {
	e, at, err := m.find(ctx, NamespaceSessions, clientID)
	if err != nil || e == nil {
		return nil, err
	}
	return decodeSession(e, at)
}

// SaveSession writes a session that was made anew or came from LoadSession, and is durable when it returns. If somebody else
// wrote the session in between, nothing is written and the error wraps ErrConflict: load it again. On a backend without
// compare-and-set the check is made before the write, not with it. Also ErrUnavailable and ErrLimit.
// One Session must not be saved by two goroutines at a time.
func (m *Meta) SaveSession(ctx context.Context, s *Session) error {
	now, err := m.replace(ctx, NamespaceSessions, s.ClientID, encodeSession(s), s.stored)
	if err == nil {
		s.stored = now
	}
	return err
}

// OverwriteSession writes a session whatever is there. For callers that own the client id by other means (a newer epoch).
func (m *Meta) OverwriteSession(ctx context.Context, s *Session) error {
	now, err := m.overwrite(ctx, NamespaceSessions, s.ClientID, encodeSession(s))
	if err == nil {
		s.stored = now
	}
	return err
}

// DeleteSession removes a session; one that is not there is no error.
func (m *Meta) DeleteSession(ctx context.Context, clientID string) error {
	_, err := m.writer.write(ctx, remove(NamespaceSessions, clientID))
	return err
}

// DropSession removes the session s as it was loaded or saved; ErrConflict if somebody changed it since.
func (m *Meta) DropSession(ctx context.Context, s *Session) error {
	done, err := m.removeIf(ctx, NamespaceSessions, s.ClientID, s.stored)
	if err == nil && !done {
		err = fmt.Errorf("remove session of client %q: %w", s.ClientID, ErrConflict)
	}
	return err
}

// EachSession calls f for every session, in order of client id, until f fails. Records that cannot be read are logged and
// passed over.
func (m *Meta) EachSession(ctx context.Context, f func(*Session) error) error {
	generation := m.backend.generation()
	_, err := m.backend.list(ctx, NamespaceSessions, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			s, err := decodeSession(e, seen(e, generation))
			if err != nil {
				m.invalid(NamespaceSessions, e.GetKey(), err)
				continue
			}
			if err := f(s); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
