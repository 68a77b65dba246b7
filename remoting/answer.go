package remoting

import "encoding/binary"

// answer holds the relevant fields of the answer to a send, parsed in place. Brokers answer in JSON whatever the form of the request, and
// general JSON decoding costs more than the send. Unusual answers are left to DecodeFrame.
type answer struct {
	code, flag, opaque int64
	id                 []byte // msgId
	queue, offset      int64
}

// parseAnswer parses a frame; ok is false unless it is the answer to a successful send.
func parseAnswer(frame []byte) (answer, bool) {
	a := answer{code: -1, opaque: -1, queue: -1, offset: -1}
	if len(frame) < 4 {
		return a, false
	}
	mark := binary.BigEndian.Uint32(frame)
	n := int(mark & 0xFFFFFF)
	ok := n <= len(frame)-4
	switch {
	case ok && mark>>24 == serializeJSON:
		s := scanner{b: frame[4 : 4+n]}
		ok = s.object(func(key []byte, s *scanner) bool { return a.header(key, s) }) && len(s.b) == 0
	case ok && mark>>24 == serializeBinary:
		ok = a.binary(frame[4 : 4+n])
	default:
		ok = false
	}
	return a, ok && a.code == Success && a.flag&flagResponse != 0 && a.opaque >= 0 && a.queue >= 0 && a.offset >= 0
}

func (a *answer) binary(raw []byte) bool {
	h, ok := parseBinaryHeader(raw)
	if !ok {
		return false
	}
	a.code, a.flag, a.opaque = int64(h.code), int64(h.flag), int64(h.opaque)
	for len(h.fields.b) > 0 {
		name, value := h.fields.field()
		a.field(name, value)
	}
	return !h.fields.bad
}

// header parses one member of a JSON header.
func (a *answer) header(key []byte, s *scanner) (ok bool) {
	switch string(key) {
	case "code":
		a.code, ok = s.number()
	case "flag":
		a.flag, ok = s.number()
	case "opaque":
		a.opaque, ok = s.number()
	case "extFields":
		ok = s.object(func(name []byte, s *scanner) bool {
			value, ok := s.text()
			a.field(name, value)
			return ok
		})
	default:
		ok = s.skip()
	}
	return ok
}

func (a *answer) field(name, value []byte) {
	switch string(name) {
	case "msgId":
		a.id = value
	case "queueId":
		a.queue = decimal(value)
	case "queueOffset":
		a.offset = decimal(value)
	}
}

// decimal parses an unsigned number; it returns -1 if b is not one.
func decimal(b []byte) int64 {
	if len(b) == 0 || len(b) > 18 {
		return -1
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// scanner parses the subset of JSON that servers write: no white space, no escapes, no arrays, no fractions. It fails on everything else.
type scanner struct{ b []byte }

func (s *scanner) take(c byte) bool {
	if len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

// object calls f with each key; f reads the value.
func (s *scanner) object(f func(key []byte, s *scanner) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		key, ok := s.text()
		if !ok || !s.take(':') || !f(key, s) {
			return false
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for i, c := range s.b {
		switch {
		case c == '"':
			t := s.b[:i]
			s.b = s.b[i+1:]
			return t, true
		case c == '\\', c < ' ':
			return nil, false
		}
	}
	return nil, false
}

func (s *scanner) number() (int64, bool) {
	n := 0
	for n < len(s.b) && s.b[n] >= '0' && s.b[n] <= '9' {
		n++
	}
	v := decimal(s.b[:n])
	s.b = s.b[n:]
	return v, v >= 0
}

// skip skips any value.
func (s *scanner) skip() bool {
	if len(s.b) == 0 {
		return false
	}
	switch c := s.b[0]; {
	case c == '"':
		_, ok := s.text()
		return ok
	case c >= '0' && c <= '9':
		_, ok := s.number()
		return ok
	case c == '{':
		return s.object(func(_ []byte, s *scanner) bool { return s.skip() })
	}
	return false
}
