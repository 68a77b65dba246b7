package packet

import (
	"encoding/binary"
	"fmt"
)

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5, 3.4 to 3.7).
type Ack struct {
	Kind       Type // PUBACK, PUBREC, PUBREL or PUBCOMP
	PacketID   uint16
	Code       Code // MQTT 5
	Properties *Properties
}

// Type returns Kind.
func (a *Ack) Type() Type { return a.Kind }

func decodeAck(d *decoder) *Ack {
	a := &Ack{Kind: d.t, PacketID: d.packetID()}
	if d.v == V5 && len(d.b) > 0 {
		a.Code = d.code(ackCodes(a.Kind), ackStatement(a.Kind))
		if len(d.b) > 0 {
			a.Properties = d.properties(answerProperties)
		}
	}
	d.end()
	return a
}

func ackStatement(kind Type) string {
	switch kind {
	case PUBACK:
		return "MQTT-3.4.2-1"
	case PUBREC:
		return "MQTT-3.5.2-1"
	case PUBREL:
		return "MQTT-3.6.2-1"
	default:
		return "MQTT-3.7.2-1"
	}
}

func (a *Ack) firstByte() byte { return byte(a.Kind)<<4 | a.Kind.fixedFlags() }

func (a *Ack) check(v Version) error {
	switch {
	case a.Kind < PUBACK || a.Kind > PUBCOMP:
		return fmt.Errorf("kind %s is not one of PUBACK, PUBREC, PUBREL, PUBCOMP", a.Kind)
	case a.PacketID == 0:
		return errPacketID
	case v != V5:
		return nil
	case !ackCodes(a.Kind).has(a.Code):
		return errCode(a.Code)
	default:
		return a.Properties.check(answerProperties)
	}
}

func (a *Ack) size(v Version) int {
	if v != V5 {
		return 2
	}
	if set := a.Properties.present(answerProperties); set != 0 {
		n := propertiesSize(a.Properties, set)
		return 3 + varintSize(n) + n
	}
	if a.Code != Success {
		return 3
	}
	return 2
}

func (a *Ack) encode(dst []byte, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(dst, a.PacketID)
	if v != V5 {
		return dst
	}
	hasProperties := a.Properties.present(answerProperties) != 0
	if a.Code != Success || hasProperties {
		dst = append(dst, byte(a.Code))
	}
	if hasProperties {
		dst = appendBlock(dst, a.Properties, answerProperties)
	}
	return dst
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties. It checks nothing.
func AppendAck(dst []byte, kind Type, id uint16, code Code, v Version) []byte {
	first := byte(kind)<<4 | kind.fixedFlags()
	if v == V5 && code != Success {
		return append(dst, first, 3, byte(id>>8), byte(id), byte(code))
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}

var _ encodable = (*Ack)(nil)
