// Package packettest holds the wire bytes of packets that the texts of MQTT forbid, with the reason code that they earn and the
// numbered statement that they break. The decoder's tests read them from memory, and the server's tests send them to a listener.
//
// It knows nothing of package packet, so that the tests inside that package can use it.
package packettest

import "strings"

// Versions, as CONNECT has them.
const (
	V31  byte = 3
	V311 byte = 4
	V5   byte = 5
)

// Reason codes of MQTT 5.
const (
	MalformedPacket            byte = 0x81
	ProtocolError              byte = 0x82
	UnsupportedProtocolVersion byte = 0x84
	TopicNameInvalid           byte = 0x90
)

// Role says who sends a packet, and when.
type Role int

// Roles.
const (
	FromClient Role = iota // after CONNECT
	First                  // a client's first packet
	FromServer             // a server's; it is for a client to refuse
)

// Refusal is a packet that must be refused.
type Refusal struct {
	Name    string
	Version byte
	Bytes   []byte
	Code    byte // also for versions that have no reason codes
	// Statements are the numbers of what the packet breaks, such as "2.2.1-3", with a space between them. The first is the one that
	// the decoder names.
	Statements string
	From       Role
}

// Statement is the number that the decoder names; "" where the text has none.
func (r Refusal) Statement() string {
	first, _, _ := strings.Cut(r.Statements, " ")
	return first
}
