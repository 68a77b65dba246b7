package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Subscribe asks for subscriptions (MQTT 5, 3.8). Filters are UTF-8 without U+0000; the server decides for each filter whether it is valid.
type Subscribe struct {
	PacketID   uint16
	Properties *Properties
	Filters    []Subscription
}

// Subscription is one topic filter and its options (MQTT 5, 3.8.3.1). All but QoS are MQTT 5.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: retained messages at every subscribe; 1: when the subscription is new; 2: never
}

// Type returns SUBSCRIBE.
func (*Subscribe) Type() Type { return SUBSCRIBE }

func decodeSubscribe(d *decoder) *Subscribe {
	s := &Subscribe{PacketID: d.packetID()}
	if d.v == V5 {
		s.Properties = d.properties(subscribeProperties)
	}
	if len(d.b) == 0 {
		d.fail(ProtocolError, "MQTT-3.8.3-3", "MQTT-3.8.3-2", "no topic filter")
	}
	for len(d.b) > 0 {
		s.Filters = append(s.Filters, d.subscription())
	}
	return s
}

func (d *decoder) subscription() Subscription {
	filter := d.text("a topic filter")
	options := d.byte("the subscription options")
	s := Subscription{Filter: filter, QoS: options & 3}
	switch d.v {
	case V5:
		s.NoLocal = options&4 != 0
		s.RetainAsPublished = options&8 != 0
		s.RetainHandling = options >> 4 & 3
		if options&0xc0 != 0 {
			d.fail(MalformedPacket, "", "MQTT-3.8.3-5", "reserved bits in the subscription options 0x%02x", options)
		}
		if s.RetainHandling == 3 {
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "retain handling 3 (3.8.3.1)")
		}
	case V311:
		if options&0xfc != 0 {
			d.fail(MalformedPacket, "MQTT-3.8.3-4", "", "reserved bits in the requested QoS 0x%02x", options)
		}
	}
	if s.QoS == 3 {
		code := MalformedPacket // [MQTT-3.8.3-4] of 3.1.1; 5.0 calls it a protocol error
		if d.v == V5 {
			code = ProtocolError
		}
		d.fail(code, "MQTT-3.8.3-4", "MQTT-4.13.1-1", "QoS 3")
	}
	return s
}

func (*Subscribe) firstByte() byte { return byte(SUBSCRIBE)<<4 | 2 }

func (s *Subscribe) check(v Version) error {
	if s.PacketID == 0 {
		return errPacketID
	}
	if len(s.Filters) == 0 {
		return errNoFilter
	}
	for i := range s.Filters {
		f := &s.Filters[i]
		if err := fits("a topic filter", len(f.Filter)); err != nil {
			return err
		}
		if f.QoS > 2 {
			return errQoS(f.QoS)
		}
		if f.RetainHandling > 2 {
			return fmt.Errorf("retain handling %d, not 0, 1 or 2", f.RetainHandling)
		}
	}
	if v != V5 || s.Properties == nil {
		return nil
	}
	if len(s.Properties.SubscriptionIdentifiers) > 1 {
		return errors.New("more than one Subscription Identifier")
	}
	return s.Properties.check(subscribeProperties)
}

func (s *Subscribe) size(v Version) int {
	n := 2
	if v == V5 {
		n += blockSize(s.Properties, subscribeProperties)
	}
	for i := range s.Filters {
		n += 2 + len(s.Filters[i].Filter) + 1
	}
	return n
}

func (s *Subscribe) encode(dst []byte, v Version) []byte {
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		dst = appendBlock(dst, s.Properties, subscribeProperties)
	}
	for i := range s.Filters {
		f := &s.Filters[i]
		options := f.QoS
		if v == V5 {
			options |= bit(f.NoLocal, 2) | bit(f.RetainAsPublished, 3) | f.RetainHandling<<4
		}
		dst = append(appendText(dst, f.Filter), options)
	}
	return dst
}

var _ encodable = (*Subscribe)(nil)
