package packet

import "encoding/binary"

// Unsuback answers Unsubscribe (MQTT 5, 3.11). MQTT 3 has no codes in it.
type Unsuback struct {
	PacketID   uint16
	Properties *Properties
	Codes      []Code
}

// Type returns UNSUBACK.
func (*Unsuback) Type() Type { return UNSUBACK }

func decodeUnsuback(d *decoder) *Unsuback {
	u := &Unsuback{PacketID: d.packetID()}
	if d.v != V5 {
		d.end()
		return u
	}
	u.Properties = d.properties(answerProperties)
	u.Codes = d.codes(&unsubackCodes, "", "MQTT-3.11.3-2")
	return u
}

func (*Unsuback) firstByte() byte { return byte(UNSUBACK) << 4 }

func (u *Unsuback) check(v Version) error {
	if u.PacketID == 0 {
		return errPacketID
	}
	if v != V5 {
		return nil
	}
	return checkCodes(u.Codes, &unsubackCodes, u.Properties, v)
}

func (u *Unsuback) size(v Version) int {
	if v != V5 {
		return 2
	}
	return 2 + blockSize(u.Properties, answerProperties) + len(u.Codes)
}

func (u *Unsuback) encode(dst []byte, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(dst, u.PacketID)
	if v != V5 {
		return dst
	}
	dst = appendBlock(dst, u.Properties, answerProperties)
	for _, c := range u.Codes {
		dst = append(dst, byte(c))
	}
	return dst
}

var _ encodable = (*Unsuback)(nil)
