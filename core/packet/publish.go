package packet

import (
	"encoding/binary"
	"errors"
	"math"
)

// Publish carries an application message (MQTT 5, 3.3). In a decoded Publish, Topic, Payload and the properties' strings share one
// allocation that only this packet uses: clone what must outlive the payload.
type Publish struct {
	Dup        bool
	QoS        byte
	Retain     bool
	Topic      string // empty in MQTT 5 if a topic alias replaces it
	PacketID   uint16 // 0 with QoS 0
	Properties *Properties
	Payload    []byte // nil when empty
}

// Type returns PUBLISH.
func (*Publish) Type() Type { return PUBLISH }

// checkPublishFlags checks the lower half of the first byte.
func checkPublishFlags(flags byte, v Version) *Error {
	switch {
	case flags&6 == 6:
		return newError(PUBLISH, v, MalformedPacket, "MQTT-3.3.1-4", "MQTT-3.3.1-4", "QoS 3")
	case flags&6 == 0 && flags&8 != 0:
		return newError(PUBLISH, v, MalformedPacket, "MQTT-3.3.1-2", "MQTT-3.3.1-2", "DUP with QoS 0")
	default:
		return nil
	}
}

func decodePublish(d *decoder, flags byte) *Publish {
	p := &Publish{Dup: flags&8 != 0, QoS: flags >> 1 & 3, Retain: flags&1 != 0}
	p.Topic = d.text("the topic name")
	d.noWildcards(p.Topic, "the topic name", "MQTT-3.3.2-2", "MQTT-3.3.2-2")
	if p.QoS > 0 {
		p.PacketID = d.packetID()
	}
	if d.v == V5 {
		p.Properties = d.properties(publishProperties)
		if !d.client && p.Properties != nil && p.Properties.SubscriptionIdentifiers != nil {
			d.fail(ProtocolError, "", "MQTT-3.3.4-6", "a Subscription Identifier from a client")
		}
	}
	if p.Topic == "" && (p.Properties == nil || p.Properties.TopicAlias == nil) {
		d.fail(ProtocolError, "MQTT-4.7.3-1", "MQTT-4.7.3-1", "no topic name and no topic alias")
	}
	if len(d.b) > 0 {
		p.Payload = d.b
	}
	return p
}

func (p *Publish) firstByte() byte {
	return byte(PUBLISH)<<4 | bit(p.Dup, 3) | p.QoS<<1 | bit(p.Retain, 0)
}

func (p *Publish) check(v Version) error {
	switch {
	case p.QoS > 2:
		return errQoS(p.QoS)
	case p.QoS == 0 && p.Dup:
		return errors.New("DUP with QoS 0 [MQTT-3.3.1-2]")
	case p.QoS > 0 && p.PacketID == 0:
		return errPacketID
	}
	if err := fits("the topic name", len(p.Topic)); err != nil || v != V5 {
		return err
	}
	return p.Properties.check(publishProperties)
}

func (p *Publish) size(v Version) int {
	n, _, _ := p.layout(v)
	return n
}

// layout returns the Remaining Length, which properties to write, and their size.
func (p *Publish) layout(v Version) (remaining int, set propertySet, propertyBytes int) {
	remaining = 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if v == V5 {
		set = p.Properties.present(publishProperties)
		propertyBytes = propertiesSize(p.Properties, set)
		remaining += varintSize(propertyBytes) + propertyBytes
	}
	return remaining, set, propertyBytes
}

func (p *Publish) encode(dst []byte, v Version) []byte {
	_, set, n := p.layout(v)
	return p.encodeBody(dst, v, set, n)
}

func (p *Publish) encodeBody(dst []byte, v Version, set propertySet, propertyBytes int) []byte {
	dst = appendText(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = appendVarint(dst, uint32(propertyBytes))
		dst = appendProperties(dst, p.Properties, set)
	}
	return append(dst, p.Payload...)
}

// AppendPublish appends p without the checks of Append: the caller must ensure that QoS, packet identifier and properties are valid. It
// returns dst unchanged if the topic or the packet is longer than the protocol allows. Properties that are not allowed in a PUBLISH are
// omitted.
func AppendPublish(dst []byte, v Version, p *Publish) []byte {
	n, set, propertyBytes := p.layout(v)
	if n > maxVarint || len(p.Topic) > math.MaxUint16 {
		return dst
	}
	dst = appendVarint(append(dst, p.firstByte()), uint32(n))
	return p.encodeBody(dst, v, set, propertyBytes)
}

var _ encodable = (*Publish)(nil)
