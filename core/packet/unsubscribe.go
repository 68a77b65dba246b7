package packet

import "encoding/binary"

// Unsubscribe ends subscriptions (MQTT 5, 3.10).
type Unsubscribe struct {
	PacketID   uint16
	Properties *Properties
	Filters    []string
}

// Type returns UNSUBSCRIBE.
func (*Unsubscribe) Type() Type { return UNSUBSCRIBE }

func decodeUnsubscribe(d *decoder) *Unsubscribe {
	u := &Unsubscribe{PacketID: d.packetID()}
	if d.v == V5 {
		u.Properties = d.properties(unsubscribeProperties)
	}
	if len(d.b) == 0 {
		d.fail(ProtocolError, "MQTT-3.10.3-2", "MQTT-3.10.3-2", "no topic filter")
	}
	for len(d.b) > 0 {
		u.Filters = append(u.Filters, d.text("a topic filter"))
	}
	return u
}

func (*Unsubscribe) firstByte() byte { return byte(UNSUBSCRIBE)<<4 | 2 }

func (u *Unsubscribe) check(v Version) error {
	if u.PacketID == 0 {
		return errPacketID
	}
	if len(u.Filters) == 0 {
		return errNoFilter
	}
	for _, f := range u.Filters {
		if err := fits("a topic filter", len(f)); err != nil {
			return err
		}
	}
	if v != V5 {
		return nil
	}
	return u.Properties.check(unsubscribeProperties)
}

func (u *Unsubscribe) size(v Version) int {
	n := 2
	if v == V5 {
		n += blockSize(u.Properties, unsubscribeProperties)
	}
	for _, f := range u.Filters {
		n += 2 + len(f)
	}
	return n
}

func (u *Unsubscribe) encode(dst []byte, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(dst, u.PacketID)
	if v == V5 {
		dst = appendBlock(dst, u.Properties, unsubscribeProperties)
	}
	for _, f := range u.Filters {
		dst = appendText(dst, f)
	}
	return dst
}

var _ encodable = (*Unsubscribe)(nil)
