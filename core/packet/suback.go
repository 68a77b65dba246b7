package packet

import (
	"encoding/binary"
	"errors"
)

// Suback answers Subscribe with a code for each filter, in order (MQTT 5, 3.9). For MQTT 3, failures of all kinds become 0x80.
type Suback struct {
	PacketID   uint16
	Properties *Properties
	Codes      []Code
}

// Type returns SUBACK.
func (*Suback) Type() Type { return SUBACK }

func decodeSuback(d *decoder) *Suback {
	s := &Suback{PacketID: d.packetID()}
	if d.v == V5 {
		s.Properties = d.properties(answerProperties)
	}
	s.Codes = d.codes(&subackCodes, "MQTT-3.9.3-2", "MQTT-3.9.3-2")
	return s
}

// codes reads the rest of the body as reason codes.
func (d *decoder) codes(allowed *codeSet, v3, v5 string) []Code {
	if len(d.b) == 0 {
		d.fail(ProtocolError, "MQTT-4.8.0-1", "MQTT-4.13.1-1", "no reason code")
		return nil
	}
	list := make([]Code, len(d.b))
	for i, b := range d.b {
		list[i] = Code(b)
		if !allowed.has(list[i]) || d.v != V5 && list[i] > UnspecifiedError {
			d.fail(ProtocolError, v3, v5, "reason code 0x%02x is not one of this packet's", b)
			return nil
		}
	}
	d.b = nil
	return list
}

func (*Suback) firstByte() byte { return byte(SUBACK) << 4 }

func (s *Suback) check(v Version) error {
	if s.PacketID == 0 {
		return errPacketID
	}
	return checkCodes(s.Codes, &subackCodes, s.Properties, v)
}

func checkCodes(list []Code, allowed *codeSet, p *Properties, v Version) error {
	if len(list) == 0 {
		return errors.New("no reason code")
	}
	for _, c := range list {
		if !allowed.has(c) {
			return errCode(c)
		}
	}
	if v != V5 {
		return nil
	}
	return p.check(answerProperties)
}

func (s *Suback) size(v Version) int {
	n := 2 + len(s.Codes)
	if v == V5 {
		n += blockSize(s.Properties, answerProperties)
	}
	return n
}

func (s *Suback) encode(dst []byte, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		dst = appendBlock(dst, s.Properties, answerProperties)
	}
	for _, c := range s.Codes {
		if v != V5 && c.Failed() {
			c = UnspecifiedError // the only failure of MQTT 3.1.1 (3.9.3)
		}
		dst = append(dst, byte(c))
	}
	return dst
}

var _ encodable = (*Suback)(nil)
