package local

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"github.com/lmqgate/lmqgate/core/store"
)

// The encoding of a record, version 1. The head has a fixed layout, so that retention can read it without decoding the record:
//
//	version 1 byte | stored 8 (ms) | partition queue id 8 | partition offset 8
//	entries: count, then name and offset of each
//	flags 1 | topic | publisher | [created] | [expires] | [properties] | [exchange] | payload (the rest)
//
// Counts, lengths and offsets are unsigned varints; times are signed varints. A string is its length followed by its bytes.
const (
	recordVersion = 1
	headSize      = 25

	flagQoS        = 3 // two bits
	flagRetain     = 1 << 2
	flagCreated    = 1 << 3
	flagExpires    = 1 << 4
	flagProperties = 1 << 5
	flagExchange   = 1 << 6

	propFormat      = 1 << 0
	propCorrelation = 1 << 1
	propEmptyType   = 1 << 2
)

var errCorrupt = errors.New("corrupt record")

// head is the fixed part of an encoded record.
type head struct {
	time      int64
	partition uint64 // queue id
	offset    int64  // in the partition
}

func appendHead(b []byte, h head) []byte {
	b = append(b, recordVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(h.time))
	b = binary.BigEndian.AppendUint64(b, h.partition)
	return binary.BigEndian.AppendUint64(b, uint64(h.offset))
}

func decodeHead(b []byte) (head, error) {
	if len(b) < headSize || b[0] != recordVersion {
		return head{}, errCorrupt
	}
	return head{
		time:      int64(binary.BigEndian.Uint64(b[1:])),
		partition: binary.BigEndian.Uint64(b[9:]),
		offset:    int64(binary.BigEndian.Uint64(b[17:])),
	}, nil
}

func appendEntries(b []byte, entries []store.Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for i := range entries {
		b = appendText(b, entries[i].Queue)
		b = binary.AppendUvarint(b, uint64(entries[i].Offset))
	}
	return b
}

func appendMessage(b []byte, m *store.Message) []byte {
	flags := m.QoS & flagQoS
	if m.Retain {
		flags |= flagRetain
	}
	if !m.Created.IsZero() {
		flags |= flagCreated
	}
	if !m.Expires.IsZero() {
		flags |= flagExpires
	}
	if m.Properties != nil {
		flags |= flagProperties
	}
	if m.Exchange != "" {
		flags |= flagExchange
	}
	b = append(b, flags)
	b = appendText(b, m.Topic)
	b = appendText(b, m.Publisher)
	if flags&flagCreated != 0 {
		b = binary.AppendVarint(b, m.Created.UnixMilli())
	}
	if flags&flagExpires != 0 {
		b = binary.AppendVarint(b, m.Expires.UnixMilli())
	}
	if p := m.Properties; p != nil {
		b = appendProperties(b, p)
	}
	if m.Exchange != "" {
		b = appendText(b, m.Exchange)
	}
	return append(b, m.Payload...)
}

func appendProperties(b []byte, p *store.Properties) []byte {
	var flags byte
	if p.HasFormat {
		flags |= propFormat
	}
	if p.CorrelationData != nil {
		flags |= propCorrelation
	}
	if p.EmptyType {
		flags |= propEmptyType
	}
	b = append(b, flags, p.PayloadFormat)
	b = appendText(b, p.ContentType)
	b = appendText(b, p.ResponseTopic)
	if p.CorrelationData != nil {
		b = binary.AppendUvarint(b, uint64(len(p.CorrelationData)))
		b = append(b, p.CorrelationData...)
	}
	b = binary.AppendUvarint(b, uint64(len(p.User)))
	for _, u := range p.User {
		b = appendText(appendText(b, u.Key), u.Value)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeRecord decodes a record, except for its Position's Log and Broker and its ID, which follow from its key. The record keeps b.
func decodeRecord(b []byte) (*store.Record, head, error) {
	h, err := decodeHead(b)
	if err != nil {
		return nil, h, err
	}
	d := decoder{rest: b[headSize:]}
	r := &store.Record{Entries: d.entries()}
	flags := d.byte()
	if flags>>7 != 0 || flags&flagQoS == flagQoS {
		d.bad = true
	}
	r.QoS = flags & flagQoS
	r.Retain = flags&flagRetain != 0
	r.Topic = d.text()
	r.Publisher = d.text()
	if flags&flagCreated != 0 {
		r.Created = time.UnixMilli(d.varint())
	}
	if flags&flagExpires != 0 {
		r.Expires = time.UnixMilli(d.varint())
	}
	if flags&flagProperties != 0 {
		r.Properties = d.properties()
	}
	if flags&flagExchange != 0 {
		r.Exchange = d.text()
	}
	if d.bad {
		return nil, h, errCorrupt
	}
	if len(d.rest) > 0 {
		r.Payload = d.rest
	}
	r.Position.Offset = h.offset
	r.Position.Time = h.time
	return r, h, nil
}

// decoder takes values off the front of rest. The first value that is missing or invalid sets bad for good.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) fail() {
	d.bad = true
	d.rest = nil
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail()
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// text returns a string that shares the record's bytes. The bytes never change, and the record keeps them alive anyway.
func (d *decoder) text() string {
	b := d.bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// count reads the number of items that follow, each at least size bytes long, so that a corrupt count cannot demand much memory.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) entries() []store.Entry {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	entries := make([]store.Entry, n)
	for i := range entries {
		entries[i].Queue = d.text()
		entries[i].Offset = int64(d.uvarint())
		if entries[i].Offset < 0 {
			d.fail()
		}
	}
	return entries
}

func (d *decoder) properties() *store.Properties {
	flags := d.byte()
	if flags>>3 != 0 {
		d.fail()
	}
	p := &store.Properties{
		HasFormat:     flags&propFormat != 0,
		PayloadFormat: d.byte(),
		ContentType:   d.text(),
		EmptyType:     flags&propEmptyType != 0,
		ResponseTopic: d.text(),
	}
	if flags&propCorrelation != 0 {
		p.CorrelationData = d.bytes()
	}
	if n := d.count(2); n > 0 {
		p.User = make([]store.UserProperty, n)
		for i := range p.User {
			p.User[i] = store.UserProperty{Key: d.text(), Value: d.text()}
		}
	}
	return p
}
