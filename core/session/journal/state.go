// Package journal keeps what a durable session must know about its QoS 2 messages when its node dies. Whichever node resumes the session
// then delivers each message exactly once, and stores each message from the client exactly once.
//
// From the client: each message is stored together with an entry in the session's exchange queue, in one append. PUBREC needs nothing more.
// PUBCOMP is sent once a State is stored that no longer names the message as held.
//
// To the client: a record always gets the same packet id. The id follows from the record's id. If that packet id is taken, another one is
// stored in a State before the message is sent. A client that already has the record therefore recognises it, whether or not the session
// remembers having sent it. PUBREL is sent once a State is stored that says so and that keeps the record from being sent again until the
// queue's committed offset has passed it. Messages that are not sent again after a crash (retained messages, records of shared groups) are
// stored in a State before they are sent, so that the session can make the client forget their packet ids.
//
// A Journal is what the session remembers of this. Its methods only compute on the Journal and on package flight; the session guards them
// with its mutex. Newest and Unreleased rebuild that state from records. A Writer orders the States to be stored; it is the only part with
// a lock and a goroutine of its own. Reading and storing records is up to the session.
package journal

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// State is the content of one record of the session's queue. Of several States, the one with the highest epoch and sequence counts.
type State struct {
	Created int64 `json:"created"` // of the session; tells it from an earlier session of the client id
	Epoch   int64 `json:"epoch"`
	Seq     int64 `json:"seq"`
	// Counter: messages from the client up to this number, and those of earlier epochs, are released unless they are in Held.
	Counter int64  `json:"counter"`
	Held    []Held `json:"held,omitempty"`
	// Assigned are records whose packet id does not follow from their own id.
	Assigned []Sent `json:"assigned,omitempty"`
	// Released are messages whose PUBREL may have been sent. Finished are further records that the client has.
	Released []Sent   `json:"released,omitempty"`
	Finished []string `json:"finished,omitempty"`
}

// Held is a message from the client that is not released.
type Held struct {
	ID      uint16 `json:"id"`
	Epoch   int64  `json:"epoch"`
	Counter int64  `json:"counter"`
}

// Sent is a message to the client. Record is empty if the message is not sent again.
type Sent struct {
	ID     uint16 `json:"id"`
	Record string `json:"record,omitempty"`
}

// Encode returns the bytes of a State.
func (s *State) Encode() []byte {
	b, _ := json.Marshal(s) // numbers and strings always encode
	return b
}

// Decode decodes a State; ok is false if b is not one.
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

// Exchange encodes the identity of a message from a session's client, for its record.
func Exchange(created int64, h Held) string {
	return fmt.Sprintf("%d-%d-%d-%d", created, h.Epoch, h.Counter, h.ID)
}

// ParseExchange decodes the result of Exchange.
func ParseExchange(text string) (h Held, created int64, ok bool) {
	n, err := fmt.Sscanf(text, "%d-%d-%d-%d", &created, &h.Epoch, &h.Counter, &h.ID)
	return h, created, err == nil && n == 4
}

// PacketID returns the packet id that follows from a record's id, for its QoS 2 message to a durable session. It is always the same, so a
// client that is sent the record again after a crash of the node recognises it. If the id is taken, the message gets another one through
// the journal.
func PacketID(recordID string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(recordID))
	return uint16(h.Sum32()%65535) + 1
}
