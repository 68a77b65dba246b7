// Package packettest holds the wire bytes of packets that the texts of MQTT forbid, with the expected reason code and the numbered
// statement that they violate. The decoder's tests read them from memory, and the server's tests send them to a listener.
//
// It does not import package packet, so that the tests inside that package can use it.
package packettest

import "strings"

// Protocol versions, as in CONNECT.
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
	FromServer             // sent by a server; a client must refuse it
)

// Refusal is a packet that must be refused.
type Refusal struct {
	Name    string
	Version byte
	Bytes   []byte
	Code    byte // set also for versions without reason codes
	// Statements are the numbers of the violated statements, such as "2.2.1-3", separated by spaces. The decoder names the first.
	Statements string
	From       Role
}

// Statement returns the number that the decoder names; "" if the text has none.
func (r Refusal) Statement() string {
	first, _, _ := strings.Cut(r.Statements, " ")
	return first
}
