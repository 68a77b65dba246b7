package packet

import (
	"encoding/binary"
	"fmt"
)

// check returns an error for properties that are not allowed in the packet or cannot be encoded.
func (p *Properties) check(allowed propertySet) error {
	set := p.present(anyProperty)
	if wrong := set &^ allowed; wrong != 0 {
		return fmt.Errorf("property %s does not belong into this packet", properties[wrong.next()].name)
	}
	for set != 0 {
		id := set.next()
		name := properties[id].name
		var err error
		switch properties[id].kind {
		case kindString:
			err = fits(name, len(**p.stringField(id)))
		case kindBinary:
			err = fits(name, len(*p.binaryField(id)))
		case kindVarint:
			for _, x := range p.SubscriptionIdentifiers {
				if x == 0 || x > maxVarint {
					err = fmt.Errorf("%s is %d, not 1 to %d", name, x, maxVarint)
				}
			}
		case kindPair:
			for i := range p.User {
				err = firstError(err, fits(name, len(p.User[i].Key)), fits(name, len(p.User[i].Value)))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// propertiesSize returns the bytes of the properties in set, without the property length in front of them.
func propertiesSize(p *Properties, set propertySet) (n int) {
	for set != 0 {
		id := set.next()
		switch properties[id].kind {
		case kindByte:
			n += 2
		case kindUint16:
			n += 3
		case kindUint32:
			n += 5
		case kindString:
			n += 3 + len(**p.stringField(id))
		case kindBinary:
			n += 3 + len(*p.binaryField(id))
		case kindVarint:
			for _, x := range p.SubscriptionIdentifiers {
				n += 1 + varintSize(int(x))
			}
		case kindPair:
			for i := range p.User {
				n += 5 + len(p.User[i].Key) + len(p.User[i].Value)
			}
		}
	}
	return n
}

// blockSize returns the size of the property length and the properties that are allowed in the packet.
func blockSize(p *Properties, allowed propertySet) int {
	n := propertiesSize(p, p.present(allowed))
	return varintSize(n) + n
}

// appendBlock appends the property length and the properties that are allowed in the packet.
func appendBlock(dst []byte, p *Properties, allowed propertySet) []byte {
	set := p.present(allowed)
	dst = appendVarint(dst, uint32(propertiesSize(p, set)))
	return appendProperties(dst, p, set)
}

func appendProperties(dst []byte, p *Properties, set propertySet) []byte {
	for set != 0 {
		id := set.next()
		switch properties[id].kind {
		case kindByte:
			dst = append(dst, byte(id), **p.byteField(id))
		case kindUint16:
			dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), **p.uint16Field(id))
		case kindUint32:
			dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), **p.uint32Field(id))
		case kindString:
			dst = appendText(append(dst, byte(id)), **p.stringField(id))
		case kindBinary:
			dst = appendBinary(append(dst, byte(id)), *p.binaryField(id))
		case kindVarint:
			for _, x := range p.SubscriptionIdentifiers {
				dst = appendVarint(append(dst, byte(id)), x)
			}
		case kindPair:
			for i := range p.User {
				dst = appendText(append(dst, byte(id)), p.User[i].Key)
				dst = appendText(dst, p.User[i].Value)
			}
		}
	}
	return dst
}
