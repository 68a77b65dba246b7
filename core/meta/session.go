package meta

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// NeverExpires is the Expiry of a session that lives until it is ended.
const NeverExpires = time.Duration(math.MaxInt64)

// Session is the record of a persistent session. Sessions are not cached: each method reads from or writes to the backend.
type Session struct {
	ClientID string
	Username string
	// ProtocolVersion is 3, 4 or 5, as in CONNECT.
	ProtocolVersion byte
	// Epoch orders the connections of the client id in the cluster.
	Epoch int64
	// Node is the node to which the client is, or was last, connected.
	Node string
	// Expiry is how long the session outlives its connection; NeverExpires: for ever.
	Expiry time.Duration
	// Created is when the session began, Connected when its present or last connection began. Disconnected is zero while the client is
	// connected (or if its node was lost before it could record the end).
	Created, Connected, Disconnected time.Time
	// Subscriptions contains each filter once. A caller that changes a subscription must replace it: SaveSession compares them with what it
	// stored.
	Subscriptions []Subscription
	// Attributes are for callers that must remember more.
	Attributes map[string]string
	// Replaces says that this new session replaces one of the same client and owner that was just dropped, so it needs no further room. It
	// is not recorded.
	Replaces bool

	// stored is the version of the record that was last read or written; zero: there was none.
	stored stored
	// epoch is the epoch of the stored record. pages says where its subscriptions are, if not in the record.
	epoch int64
	pages *pages
	// takes is the amount under which its record was counted.
	takes amount
}

// Subscription is one subscription of a session.
type Subscription struct {
	// Filter is the filter as in SUBSCRIBE, with $share/{group}/ if it is shared.
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

// ExpiresAt returns when the session ends; the zero time while it is connected, or if it never ends.
func (s *Session) ExpiresAt() time.Time {
	if s.Disconnected.IsZero() || s.Expiry == NeverExpires {
		return time.Time{}
	}
	return s.Disconnected.Add(s.Expiry)
}

// Clone returns a copy that shares nothing mutable with s. The copy counts as the same version of the record.
func (s *Session) Clone() *Session {
	c := *s
	c.Subscriptions = slices.Clone(s.Subscriptions)
	for i := range c.Subscriptions {
		c.Subscriptions[i].Start = maps.Clone(c.Subscriptions[i].Start)
	}
	c.Attributes = maps.Clone(s.Attributes)
	return &c
}

// Succeed tells s that written, a copy of an earlier state of s, was written: the next SaveSession of s replaces that version. Call it even
// if the write failed, because what the write learned about the stored version counts.
func (s *Session) Succeed(written *Session) {
	s.stored, s.epoch, s.pages, s.takes = written.stored, written.epoch, written.pages, written.takes
}

// pagedVersion is the version of records whose subscriptions are in pages. A gateway that does not know pages must not mistake such a
// session for one without subscriptions.
const pagedVersion = 2

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
	// Pages is the name of the pages that hold the subscriptions; see pages.
	Pages      string            `json:"pages,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
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

func toSubscriptionRecord(u *Subscription) subscriptionRecord {
	return subscriptionRecord{u.Filter, u.QoS, u.NoLocal, u.RetainAsPublished, u.RetainHandling, u.ID, millis(u.Created), u.Start}
}

func (r *subscriptionRecord) subscription() Subscription {
	return Subscription{r.Filter, r.QoS, r.NoLocal, r.RetainAsPublished, r.RetainHandling, r.ID, fromMillis(r.Created), r.Start}
}

// encodeSession encodes the record with the subscriptions that belong in it, and the name of the pages with the others.
func encodeSession(s *Session, inline []Subscription, paged string) []byte {
	r := sessionRecord{header: header{recordVersion}, Username: s.Username, Protocol: s.ProtocolVersion, Epoch: s.Epoch,
		Node: s.Node, Expiry: s.Expiry.Milliseconds(), Created: millis(s.Created), Connected: millis(s.Connected),
		Disconnected: millis(s.Disconnected), Attributes: s.Attributes, Pages: paged}
	if paged != "" {
		r.V = pagedVersion
	}
	if s.Expiry == NeverExpires {
		r.Expiry = -1
	}
	for i := range inline {
		r.Subscriptions = append(r.Subscriptions, toSubscriptionRecord(&inline[i]))
	}
	return encode(&r)
}

// decodeSession decodes a record. paged is the name of the pages with further subscriptions; empty if there are none.
func decodeSession(e *pluginv1.Entry, at stored) (s *Session, paged string, err error) {
	var r sessionRecord
	if err := decode(NamespaceSessions, e.GetKey(), e.GetValue(), &r); err != nil {
		return nil, "", err
	}
	s = &Session{ClientID: e.GetKey(), Username: r.Username, ProtocolVersion: r.Protocol, Epoch: r.Epoch, Node: r.Node,
		Created: fromMillis(r.Created), Connected: fromMillis(r.Connected), Disconnected: fromMillis(r.Disconnected),
		Attributes: r.Attributes, stored: at, epoch: r.Epoch,
		takes: sized(e.GetKey(), e.GetValue())}
	if s.Expiry = NeverExpires; r.Expiry >= 0 && r.Expiry < math.MaxInt64/int64(time.Millisecond) {
		s.Expiry = time.Duration(r.Expiry) * time.Millisecond
	}
	for i := range r.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, r.Subscriptions[i].subscription())
	}
	if r.Pages != "" && !validPages(r.Pages) {
		return nil, "", fmt.Errorf("%s %q names pages %q, which cannot be; correct it or remove the key", NamespaceSessions, e.GetKey(), r.Pages)
	}
	return s, r.Pages, nil
}
