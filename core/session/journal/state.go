// Package journal keeps what a durable session must know of its QoS 2 messages when its node dies, so that each is delivered
// once, and taken once, by whichever node has the session next.
//
// Taken from the client: each message is stored with an entry in the session's exchange queue, in the same append. Nothing more is
// needed for PUBREC. PUBCOMP leaves once a State is stored that no longer names the message as held.
//
// Sent to the client: a record always gets the same packet id, which follows from the record's id or, where that one is taken, is in
// a stored State before the message is sent. So a client that has the record already knows it again, whether or not the session
// remembers having sent it. PUBREL leaves once a State is stored that says so, and that keeps the record from being sent
// again until the queue's committed offset is past it. Messages that are not sent again after a crash (retained messages, those of
// shared groups) are in a stored State before they are sent, so that the client is made to forget their packet ids.
//
// A Journal is what the session remembers of this; its methods are calculations on it and on package flight, and the session
// guards it with its mutex. Newest and Unreleased find it again from records. A Writer orders the States that are stored; it is the
// only part with a lock and a goroutine of its own. How records are read and stored is the session's business.
package journal

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// State is what one record of the session's queue says. Of several the one with the highest epoch and sequence counts.
type State struct {
	Created int64 `json:"created"` // of the session: an earlier one of the client id is not meant
	Epoch   int64 `json:"epoch"`
	Seq     int64 `json:"seq"`
	// Counter: messages from the client up to this one, and those of earlier epochs, are released unless they are in Held.
	Counter int64  `json:"counter"`
	Held    []Held `json:"held,omitempty"`
	// Assigned are records whose packet id is another than their own.
	Assigned []Sent `json:"assigned,omitempty"`
	// Released are messages whose PUBREL may have been sent; Finished records that the client has besides.
	Released []Sent   `json:"released,omitempty"`
	Finished []string `json:"finished,omitempty"`
}

// Held is a message from the client.
type Held struct {
	ID      uint16 `json:"id"`
	Epoch   int64  `json:"epoch"`
	Counter int64  `json:"counter"`
}

// Sent is a message to the client. Record is empty for one that is not sent again.
type Sent struct {
	ID     uint16 `json:"id"`
	Record string `json:"record,omitempty"`
}

// Encode returns the bytes of a State.
func (s *State) Encode() []byte {
	b, _ := json.Marshal(s) // numbers and strings always encode
	return b
}

// Decode reads a State; false if it is none.
func Decode(b []byte) (s State, ok bool) {
	return s, json.Unmarshal(b, &s) == nil
}

// after reports whether s is newer than t.
func (s *State) after(t *State) bool {
	return s.Epoch > t.Epoch || s.Epoch == t.Epoch && s.Seq > t.Seq
}

// before reports whether h was sent before g.
func (h Held) before(g Held) bool {
	return h.Epoch < g.Epoch || h.Epoch == g.Epoch && h.Counter < g.Counter
}

// Exchange names a message from the client of a session for its record.
func Exchange(created int64, h Held) string {
	return fmt.Sprintf("%d-%d-%d-%d", created, h.Epoch, h.Counter, h.ID)
}

// ParseExchange reads what Exchange made.
func ParseExchange(text string) (h Held, created int64, ok bool) {
	n, err := fmt.Sscanf(text, "%d-%d-%d-%d", &created, &h.Epoch, &h.Counter, &h.ID)
	return h, created, err == nil && n == 4
}

// PacketID is a record's own packet id, of its QoS 2 message to a durable session: always the same, so that a client to which it
// is sent again after a crash of the node knows it again. Where it is taken the message gets another one, by way of the journal.
func PacketID(recordID string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(recordID))
	return uint16(h.Sum32()%65535) + 1
}
