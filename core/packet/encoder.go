package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// encodable is implemented by every packet of this package. Version decides the layout; properties and reason codes are left out where the
// version has none.
type encodable interface {
	Packet
	firstByte() byte
	// check reports what cannot be encoded.
	check(v Version) error
	// size is the Remaining Length; encode appends as many bytes.
	size(v Version) int
	encode(dst []byte, v Version) []byte
}

// Append appends p in the form of version v to dst. It allocates only when dst has no room. It refuses what cannot be encoded: strings over
// 65,535 bytes, properties and reason codes that do not belong to the packet, packets over 268,435,455 bytes. For MQTT 3 it leaves out
// properties and reason codes, and turns those of CONNACK and SUBACK into their MQTT 3 form.
func Append(dst []byte, p Packet, v Version) ([]byte, error) {
	e, ok := p.(encodable)
	if !ok {
		return dst, fmt.Errorf("encode %T: not a packet of this package", p)
	}
	if v != V31 && v != V311 && v != V5 {
		return dst, fmt.Errorf("encode %s: unknown protocol version %d", p.Type(), byte(v))
	}
	if err := e.check(v); err != nil {
		return dst, fmt.Errorf("encode %s: %w", p.Type(), err)
	}
	n := e.size(v)
	if n > maxVarint {
		return dst, fmt.Errorf("encode %s: %d bytes, the most is %d", p.Type(), n, maxVarint)
	}
	dst = appendVarint(append(dst, e.firstByte()), uint32(n))
	return e.encode(dst, v), nil
}

// Size returns how many bytes Append would append, the fixed header included: what Maximum Packet Size counts (MQTT 5, 3.1.2.11.4).
// It does not check whether p can be encoded.
func Size(p Packet, v Version) int {
	e, ok := p.(encodable)
	if !ok {
		return 0
	}
	n := e.size(v)
	return 1 + varintSize(n) + n
}

func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	default:
		return 4
	}
}

func appendVarint(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendBinary(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(b))), b...)
}

// fits checks a string or binary field against the two bytes that hold its length.
func fits(field string, n int) error {
	if n > math.MaxUint16 {
		return fmt.Errorf("%s has %d bytes, the most is %d", field, n, math.MaxUint16)
	}
	return nil
}

func bit(set bool, n byte) byte {
	if set {
		return 1 << n
	}
	return 0
}

var (
	errPacketID = errors.New("packet identifier 0 [MQTT-2.2.1-3]")
	errNoFilter = errors.New("no topic filter [MQTT-3.8.3-2]")
)

func errQoS(qos byte) error { return fmt.Errorf("QoS %d, not 0, 1 or 2", qos) }

func errCode(c Code) error {
	return fmt.Errorf("reason code 0x%02x (%s) does not belong into this packet", byte(c), c)
}
