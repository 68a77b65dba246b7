package packet

import "strings"

// values holds a few property values in one allocation, enough for a PUBLISH with all its properties.
type values struct {
	text       [2]string
	number     uint32
	short      uint16
	octet      byte
	texts      uint8
	numberUsed bool
	shortUsed  bool
	octetUsed  bool
}

func (d *decoder) room() *values {
	if d.values == nil {
		d.values = new(values)
	}
	return d.values
}

func (d *decoder) keepByte(x byte) *byte {
	v := d.room()
	if v.octetUsed {
		return new(x)
	}
	v.octet, v.octetUsed = x, true
	return &v.octet
}

func (d *decoder) keepUint16(x uint16) *uint16 {
	v := d.room()
	if v.shortUsed {
		return new(x)
	}
	v.short, v.shortUsed = x, true
	return &v.short
}

func (d *decoder) keepUint32(x uint32) *uint32 {
	v := d.room()
	if v.numberUsed {
		return new(x)
	}
	v.number, v.numberUsed = x, true
	return &v.number
}

func (d *decoder) keepText(x string) *string {
	v := d.room()
	if int(v.texts) == len(v.text) {
		return new(x)
	}
	v.text[v.texts] = x
	v.texts++
	return &v.text[v.texts-1]
}

// properties reads the property length and the properties. Only those in allowed may occur. The result is nil if there are none.
func (d *decoder) properties(allowed propertySet) *Properties {
	n := int(d.varint("the property length"))
	if n > len(d.b) {
		d.truncated("the properties")
		return nil
	}
	if n == 0 || d.err != nil {
		return nil
	}
	rest := d.b[n:]
	d.b = d.b[:n]
	p := new(Properties)
	var seen propertySet
	for len(d.b) > 0 {
		id := int(d.varint("a property identifier"))
		if d.err != nil {
			return nil
		}
		if id > maxPropertyID || allowed&(1<<id) == 0 {
			d.fail(MalformedPacket, "", "MQTT-4.13.1-1", "property 0x%02x does not belong here (2.2.2.2)", id)
			return nil
		}
		if seen&(1<<id) != 0 && !d.repeats(id) {
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "%s comes twice", properties[id].name)
			return nil
		}
		seen |= 1 << id
		d.property(p, id)
	}
	if d.err != nil {
		return nil
	}
	d.b = rest
	if p.AuthenticationData != nil && p.AuthenticationMethod == nil {
		d.fail(ProtocolError, "", "MQTT-4.13.1-1", "Authentication Data without Authentication Method (3.1.2.11.10)")
	}
	return p
}

// repeats reports whether a property may occur more than once.
func (d *decoder) repeats(id int) bool {
	return id == idUserProperty || id == idSubscriptionIdentifier && d.t == PUBLISH
}

// property reads one value and checks its range.
func (d *decoder) property(p *Properties, id int) {
	name := properties[id].name
	switch properties[id].kind {
	case kindByte:
		x := d.byte(name)
		if x > 1 { // every property of one byte is a 0 or a 1
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "%s is %d, not 0 or 1", name, x)
		}
		*p.byteField(id) = d.keepByte(x)
	case kindUint16:
		x := d.uint16(name)
		if x == 0 && id == idReceiveMaximum {
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "%s is 0", name)
		}
		*p.uint16Field(id) = d.keepUint16(x)
	case kindUint32:
		x := d.uint32(name)
		if x == 0 && id == idMaximumPacketSize {
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "%s is 0", name)
		}
		*p.uint32Field(id) = d.keepUint32(x)
	case kindVarint:
		x := d.varint(name)
		if x == 0 {
			d.fail(ProtocolError, "", "MQTT-4.13.1-1", "%s is 0", name)
		}
		p.SubscriptionIdentifiers = append(p.SubscriptionIdentifiers, x)
	case kindString:
		x := d.text(name)
		if id == idResponseTopic {
			d.responseTopic(x)
		}
		*p.stringField(id) = d.keepText(x)
	case kindBinary:
		*p.binaryField(id) = d.binary(name)
	case kindPair:
		if len(p.User) == MaxUserProperties {
			d.fail(QuotaExceeded, "", "", "more than %d user properties", MaxUserProperties)
			return
		}
		if p.User == nil {
			p.User = make([]UserProperty, 0, 4)
		}
		p.User = append(p.User, UserProperty{Key: d.text("a user property's name"), Value: d.text("a user property's value")})
	}
}

func (d *decoder) responseTopic(name string) {
	if name == "" {
		d.fail(ProtocolError, "", "MQTT-4.7.3-1", "Response Topic is empty")
	}
	if strings.ContainsAny(name, "+#") {
		d.fail(ProtocolError, "", "MQTT-3.3.2-14", "Response Topic %.64q holds a wildcard", name)
	}
}
