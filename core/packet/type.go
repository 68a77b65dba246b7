package packet

import "fmt"

// Type is an MQTT control packet type (MQTT 5, 2.1.2).
type Type byte

// The control packet types, named as the OASIS text names them. AUTH exists in MQTT 5 only.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the name in the OASIS text, such as "CONNECT".
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", byte(t))
}

// fixedFlags returns the lower half of a packet's first byte for every type but PUBLISH, where it carries DUP, QoS and RETAIN.
func (t Type) fixedFlags() byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	default:
		return 0
	}
}

// fromServerOnly reports whether only servers send the type (MQTT 5, table 2-1).
func (t Type) fromServerOnly() bool {
	return t == CONNACK || t == SUBACK || t == UNSUBACK || t == PINGRESP
}

// fromClientOnly reports whether only clients of version v send the type.
func (t Type) fromClientOnly(v Version) bool {
	switch t {
	case CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ:
		return true
	case DISCONNECT:
		return v != V5
	default:
		return false
	}
}

// Version is the protocol version as in CONNECT.
type Version byte

// The supported versions. The zero Version means "not known yet".
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String returns the version's usual name, such as "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	default:
		return fmt.Sprintf("Version(%d)", byte(v))
	}
}

// Packet is one decoded control packet: a pointer to one of this package's packet structs.
type Packet interface {
	Type() Type
}
