package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// maxVarint is the largest Variable Byte Integer (MQTT 5, 1.5.5), and so the largest Remaining Length.
const maxVarint = 268_435_455

// decoder reads one packet's body (everything after the fixed header). Its methods do nothing after the first failure, so that the packet
// decoders read like the packet's layout and look at err once.
type decoder struct {
	b      []byte
	t      Type
	v      Version
	client bool // the reader is a client: the packet came from a server
	alias  bool // strings and byte slices may point into b, which is not reused
	values *values
	err    *Error
}

// fail records the first failure. v3 and v5 are the statements in the texts of 3.1.1 and 5.0.
func (d *decoder) fail(code Code, v3, v5, format string, args ...any) {
	if d.err != nil {
		return
	}
	d.err = newError(d.t, d.v, code, v3, v5, format, args...)
	d.b = nil
}

func newError(t Type, v Version, code Code, v3, v5, format string, args ...any) *Error {
	statement := v3
	if v == V5 {
		statement = v5
	}
	return &Error{Code: code, Reason: t.String() + ": " + fmt.Sprintf(format, args...), Statement: statement, Version: v}
}

// truncated records that the body ends inside a field.
func (d *decoder) truncated(field string) {
	d.misfit("the packet ends inside %s", field)
}

// end checks that the whole body was consumed: no bytes may follow the last field.
func (d *decoder) end() {
	if len(d.b) > 0 {
		d.misfit("%d bytes behind the last field", len(d.b))
	}
}

// misfit records that the body does not have the packet's layout.
func (d *decoder) misfit(format string, args ...any) {
	v3, v5 := "MQTT-4.8.0-1", "MQTT-4.13.1-1"
	if d.t == CONNECT {
		v3, v5 = "MQTT-3.1.4-1", "MQTT-3.1.4-1"
	}
	d.fail(MalformedPacket, v3, v5, format, args...)
}

func (d *decoder) byte(field string) byte {
	if len(d.b) < 1 {
		d.truncated(field)
		return 0
	}
	x := d.b[0]
	d.b = d.b[1:]
	return x
}

func (d *decoder) uint16(field string) uint16 {
	if len(d.b) < 2 {
		d.truncated(field)
		return 0
	}
	x := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return x
}

func (d *decoder) uint32(field string) uint32 {
	if len(d.b) < 4 {
		d.truncated(field)
		return 0
	}
	x := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return x
}

// varint reads a Variable Byte Integer, which occurs only in bodies of MQTT 5.
func (d *decoder) varint(field string) uint32 {
	var x uint32
	for i := range 4 {
		if i >= len(d.b) {
			d.truncated(field)
			return 0
		}
		c := d.b[i]
		x |= uint32(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			if c == 0 && i > 0 {
				d.fail(MalformedPacket, "", "MQTT-1.5.5-1", "%s is not in its shortest form", field)
				return 0
			}
			d.b = d.b[i+1:]
			return x
		}
	}
	d.fail(MalformedPacket, "", "MQTT-1.5.5-1", "%s is longer than 4 bytes", field)
	return 0
}

// raw reads two bytes of length and that many bytes. The result points into the body.
func (d *decoder) raw(field string) []byte {
	n := int(d.uint16(field))
	if n > len(d.b) {
		d.truncated(field)
		return nil
	}
	x := d.b[:n:n]
	d.b = d.b[n:]
	return x
}

// text reads a UTF-8 Encoded String. Surrogates are ill-formed UTF-8 to Go, too.
func (d *decoder) text(field string) string {
	x := d.raw(field)
	if !utf8.Valid(x) {
		d.fail(MalformedPacket, "MQTT-1.5.3-1", "MQTT-1.5.4-1", "%s is not UTF-8", field)
		return ""
	}
	if bytes.IndexByte(x, 0) >= 0 {
		d.fail(MalformedPacket, "MQTT-1.5.3-2", "MQTT-1.5.4-2", "%s holds U+0000", field)
		return ""
	}
	if d.alias {
		return unsafe.String(unsafe.SliceData(x), len(x))
	}
	return string(x)
}

// binary reads Binary Data. On success the result is never nil, because an empty value counts as present.
func (d *decoder) binary(field string) []byte {
	x := d.raw(field)
	if d.alias || d.err != nil {
		return x
	}
	return append(make([]byte, 0, len(x)), x...)
}

// blob reads Binary Data whose presence is encoded elsewhere; the result is nil if it is empty.
func (d *decoder) blob(field string) []byte {
	if x := d.binary(field); len(x) > 0 {
		return x
	}
	return nil
}

// packetID reads a Packet Identifier, which is never 0.
func (d *decoder) packetID() uint16 {
	id := d.uint16("the packet identifier")
	if id != 0 {
		return id
	}
	v3, v5 := "MQTT-2.3.1-1", "MQTT-2.2.1-3"
	switch d.t {
	case PUBLISH:
		if d.client {
			v5 = "MQTT-2.2.1-4"
		}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		v3, v5 = "MQTT-2.3.1-6", "MQTT-2.2.1-5"
	case SUBACK, UNSUBACK:
		v3, v5 = "MQTT-2.3.1-7", "MQTT-2.2.1-6"
	}
	d.fail(ProtocolError, v3, v5, "packet identifier 0")
	return 0
}

// topicName reads the topic of a will, which cannot be replaced by an alias.
func (d *decoder) topicName(field string) string {
	name := d.text(field)
	if name == "" {
		d.fail(ProtocolError, "MQTT-4.7.3-1", "MQTT-4.7.3-1", "%s is empty", field)
	}
	d.noWildcards(name, field, "MQTT-4.7.1-1", "MQTT-4.7.0-1")
	return name
}

// noWildcards checks a Topic Name.
func (d *decoder) noWildcards(name, field, v3, v5 string) {
	for i := range len(name) {
		if name[i] == '+' || name[i] == '#' {
			d.fail(TopicNameInvalid, v3, v5, "%s %.64q holds a wildcard", field, name)
			return
		}
	}
}

// code reads a reason code that must be one of those allowed here.
func (d *decoder) code(allowed *codeSet, statement string) Code {
	c := Code(d.byte("the reason code"))
	if d.err == nil && !allowed.has(c) {
		d.fail(ProtocolError, "", statement, "reason code 0x%02x is not one of this packet's", byte(c))
	}
	return c
}
