package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"unicode/utf8"
)

// The kinds of messages, with their recipients.
const (
	kindClaim = "claim" // to an owner: a client connects
	kindGone  = "gone"  // to an owner: a claim is over
	kindOwner = "owner" // to an owner: a claim has another identity now
	kindGrant = "grant" // to a claimant: go on
	kindWait  = "wait"  // to a claimant: the older connection was asked to yield
	kindYield = "yield" // to a holder: a later claim came
	kindCall  = "call"  // to all: report your claims to these buckets
	kindHeld  = "held"  // to an owner: some of the claims that it asked for
	kindPing  = "ping"  // to a peer: answer this
	kindPong  = "pong"
	kindSelf  = "self" // to the node itself: proves that the inbox is read
	kindWoke  = "woke" // to all: this node was fenced; which clients were taken meanwhile?
	kindWent  = "went" // answer to woke, or a part of it
	kindBye   = "bye"  // to all: this node is shutting down
	kindAsk   = "ask"  // a question; see Ask
	kindTell  = "tell" // a question that a SUBSCRIBE waits for; see Announcer
	kindReply = "reply"
)

// message is one message from one node to another.
type message struct {
	Kind   string `json:"k"`
	Client string `json:"c,omitempty"`
	// Claim is the id of a claim or of a question.
	Claim string `json:"i,omitempty"`
	Order int64  `json:"o,omitempty"`
	// Transient: the session is new and ends with the connection. Fresh: the session is new, so an existing one ends.
	Transient bool `json:"t,omitempty"`
	Fresh     bool `json:"f,omitempty"`
	// Late: the client may have been let in, and have connected elsewhere, before this claim arrives.
	Late bool `json:"w,omitempty"`
	// Owner is the identity that owns the claim; see Want.
	Owner string `json:"u,omitempty"`
	// Hops is how often a claim was passed on.
	Hops int `json:"h,omitempty"`
	// From is set in a claim that was passed on: the node that made it.
	From string `json:"n,omitempty"`
	// Silent names a node that did not answer the claimant for a lease.
	Silent string `json:"s,omitempty"`
	// Call is the number of a roll call, Buckets its buckets. Last: the answer is complete.
	Call    int64   `json:"r,omitempty"`
	Buckets string  `json:"b,omitempty"`
	Entries entries `json:"e,omitempty"`
	Last    bool    `json:"l,omitempty"`
	// Sent is the time of a self message by the sender's clock, in nanoseconds since the node began.
	Sent int64 `json:"a,omitempty"`
	// Subject and Body are a question. An answer has Body (part number Part of Parts, compressed as a whole) or Failure.
	Subject string `json:"q,omitempty"`
	Body    []byte `json:"d,omitempty"`
	Part    int    `json:"p,omitempty"`
	Parts   int    `json:"z,omitempty"`
	Failure string `json:"x,omitempty"`
	// direct: this node's own claim, decided before it was read in the node's inbox. It is never in a letter.
	direct bool
}

// wantsAnswer reports whether the recipient of this message answers at once.
func (m *message) wantsAnswer() bool {
	switch m.Kind {
	case kindClaim:
		return !m.Transient
	case kindYield, kindCall, kindPing, kindWoke:
		return true
	}
	return false
}

// answers reports whether this message shows that its sender has read its inbox. A grant may be due to somebody else's letter: the inbox
// was read even so.
func (m *message) answers() bool {
	switch m.Kind {
	case kindPong, kindGrant, kindWait, kindHeld, kindGone, kindWent:
		return true
	}
	return false
}

// size is the approximate size of the message in a letter, in bytes.
func (m *message) size() int {
	n := 128 + textSize(m.Client) + textSize(m.Owner) + len(m.Buckets)
	for i := range m.Entries {
		n += m.Entries[i].size()
	}
	return n
}

// size is the approximate size of the entry in a letter, in bytes.
func (e *entry) size() int { return 96 + textSize(e.Client) + textSize(e.Owner) }

// textSize is the size of a string in a letter, in bytes. JSON escapes some characters, most of which are rare in client ids.
func textSize(text string) (n int) {
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			n += 2
		case r < ' ' || r == utf8.RuneError || r == '\u2028' || r == '\u2029':
			n += 6
		default:
			n += utf8.RuneLen(r)
		}
	}
	return n
}

// entry is one claim in the answer to a roll call.
type entry struct {
	Client    string `json:"c"`
	Claim     string `json:"i"`
	Order     int64  `json:"o,omitempty"`
	Transient bool   `json:"t,omitempty"`
	Fresh     bool   `json:"f,omitempty"`
	Waits     bool   `json:"w,omitempty"`
	Owner     string `json:"u,omitempty"`
}

// letter is the content of one record of an inbox.
type letter struct {
	From     string   `json:"f"`
	Instance string   `json:"n"`
	Messages messages `json:"m"`
}

// messages and entries are lists that decode only up to the bounds that every node keeps to: a list of empty elements takes a hundred times
// its text in memory.
type (
	messages []message
	entries  []entry
)

// UnmarshalJSON implements json.Unmarshaler. It fails if there are more than letterMessages.
func (l *messages) UnmarshalJSON(b []byte) error {
	if n := elements(b); n > letterMessages {
		return fmt.Errorf("%d messages, over %d", n, letterMessages)
	}
	return json.Unmarshal(b, (*[]message)(l))
}

// UnmarshalJSON implements json.Unmarshaler. It fails if there are more than reportEntries.
func (l *entries) UnmarshalJSON(b []byte) error {
	if n := elements(b); n > reportEntries {
		return fmt.Errorf("%d claims in a message, over %d", n, reportEntries)
	}
	return json.Unmarshal(b, (*[]entry)(l))
}

// elements returns the number of elements of a valid JSON array, and 1 for an empty one. It allocates nothing.
func elements(b []byte) int {
	n, depth, inText := 1, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inText && c == '\\':
			i++ // the escaped character may be a quotation mark
		case c == '"':
			inText = !inText
		case inText:
		case c == '[', c == '{':
			depth++
		case c == ']', c == '}':
			depth--
		case c == ',' && depth == 1:
			n++
		}
	}
	return n
}

// talks reports whether the letter contains only questions and answers. Those are not signs of life.
func (l *letter) talks() bool {
	return !slices.ContainsFunc(l.Messages, func(m message) bool { return m.Kind != kindAsk && m.Kind != kindTell && m.Kind != kindReply })
}

func (l *letter) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it takes six bytes for each of <, > and &
	err := e.Encode(l)
	return b.Bytes(), err
}

// letterMost bounds a letter that is read, in bytes. Those that nodes write are smaller: letterBytes, and one message with the longest
// client id and owner.
const letterMost = 1 << 20

func decodeLetter(b []byte) (*letter, error) {
	if len(b) > letterMost {
		return nil, fmt.Errorf("letter of %d bytes, over %d", len(b), letterMost)
	}
	l := new(letter)
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("letter of %d bytes: %w", len(b), err)
	}
	if l.From == "" || l.Instance == "" {
		return nil, fmt.Errorf("letter of %d bytes: it does not say whose it is", len(b))
	}
	return l, nil
}

// buckets is the number of buckets. All nodes must agree on it.
const buckets = 256

func bucketOf(client string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(client))
	v := h.Sum32()
	return int((v ^ v>>16 ^ v>>8) % buckets)
}

// bucketSet is a set of buckets.
type bucketSet [buckets / 8]byte

func (s *bucketSet) add(b int)      { s[b/8] |= 1 << (b % 8) }
func (s *bucketSet) has(b int) bool { return s[b/8]&(1<<(b%8)) != 0 }

func (s *bucketSet) String() string { return base64.RawStdEncoding.EncodeToString(s[:]) }

func parseBuckets(text string) (s bucketSet, err error) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err == nil && len(b) != len(s) {
		err = fmt.Errorf("%d bytes of buckets, not %d", len(b), len(s))
	}
	copy(s[:], b)
	return s, err
}
