package remoting

import (
	"fmt"
	"net/netip"
)

// Bits of a message's SysFlag.
const (
	sysFlagCompressed  = 1
	sysFlagBornHostV6  = 1 << 4
	sysFlagStoreHostV6 = 1 << 5
	sysFlagCodecMask   = 7 << 8
	sysFlagCodecLZ4    = 1 << 8
	sysFlagCodecZSTD   = 2 << 8
	sysFlagCodecZLIB   = 3 << 8
)

// Magic numbers of a stored message. The second form has a topic length of two bytes.
const (
	magicV1 = 0xDAA320A7
	magicV2 = 0xDAA320AB
)

// Message is one message as the broker stored it.
type Message struct {
	Topic       string
	Queue       int32
	QueueOffset int64
	// LogOffset is the message's place in the broker's commit log.
	LogOffset int64
	SysFlag   int32
	Flag      int32
	// BornTime and StoreTime are when the producer created and the broker stored it, in milliseconds since the epoch.
	BornTime, StoreTime int64
	BornHost, StoreHost netip.AddrPort
	ReconsumeTimes      int32
	// Properties are encoded; see EachProperty.
	Properties string
	// Body is the stored body, possibly compressed: see Inflate. It may share memory with the other messages of a pull.
	Body []byte
}

// Property returns a property's value, empty when there is none.
func (m *Message) Property(name string) string {
	var found string
	EachProperty(m.Properties, func(n, v string) bool {
		if n == name {
			found = v
			return false
		}
		return true
	})
	return found
}

// DecodeMessages decodes messages in the form of the commit log, which is the body of a pull's answer. If it fails with ErrMalformed, it
// also returns the messages before the fault. Bodies share memory with b.
func DecodeMessages(b []byte) ([]Message, error) {
	var out []Message
	for len(b) > 0 {
		head := reader{b: b}
		size := int(int32(head.uint32()))
		if head.bad || size < 4 || size > len(b) {
			return out, fmt.Errorf("%w: message of %d bytes in the remaining %d", ErrMalformed, size, len(b))
		}
		m, err := decodeMessage(b[4:size])
		if err != nil {
			return out, err
		}
		out = append(out, m)
		b = b[size:]
	}
	return out, nil
}

// decodeMessage reads one message without its leading size.
func decodeMessage(b []byte) (Message, error) {
	r := reader{b: b}
	var m Message
	magic := r.uint32()
	if magic != magicV1 && magic != magicV2 {
		return m, fmt.Errorf("%w: message with magic number %#x", ErrMalformed, magic)
	}
	r.skip(4) // checksum of the stored body
	m.Queue = int32(r.uint32())
	m.Flag = int32(r.uint32())
	m.QueueOffset = r.int64()
	m.LogOffset = r.int64()
	m.SysFlag = int32(r.uint32())
	m.BornTime = r.int64()
	m.BornHost = r.host(m.SysFlag&sysFlagBornHostV6 != 0)
	m.StoreTime = r.int64()
	m.StoreHost = r.host(m.SysFlag&sysFlagStoreHostV6 != 0)
	m.ReconsumeTimes = int32(r.uint32())
	r.skip(8) // offset of a prepared transaction
	m.Body = r.bytes(int(int32(r.uint32())))
	topicLen := 0
	if magic == magicV1 {
		topicLen = int(r.uint8())
	} else {
		topicLen = int(r.uint16())
	}
	m.Topic = string(r.bytes(topicLen))
	m.Properties = string(r.bytes(int(r.uint16())))
	if r.bad {
		return m, fmt.Errorf("%w: message of %d bytes ends early", ErrMalformed, len(b))
	}
	return m, nil
}

// host reads an address of 4 or 16 bytes and a port of 4.
func (r *reader) host(v6 bool) netip.AddrPort {
	n := 4
	if v6 {
		n = 16
	}
	addr, _ := netip.AddrFromSlice(r.bytes(n))
	return netip.AddrPortFrom(addr, uint16(r.uint32()))
}
