package remoting

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Serialization types of a command's header, in the top byte of the header length.
const (
	serializeJSON   = 0
	serializeBinary = 1
)

// Flags of a command.
const (
	flagResponse = 1
	flagOneway   = 2
)

// clientVersion is the MQVersion ordinal that requests carry (V4_9_4): old enough for every supported server to know it, new enough for
// namesrvs to answer routes in standard JSON.
const clientVersion = 401

// Command is a request or an answer.
type Command struct {
	Code    int
	Version int
	Opaque  int32
	Flag    int32
	Remark  string
	// Ext are the header's named fields; their values are strings whatever their type.
	Ext  map[string]string
	Body []byte
	// Binary sends the header in RocketMQ's own form instead of JSON. Servers answer in the form of the request.
	Binary bool

	conn uint64 // the connection that brought the answer
}

// header is the JSON form of a command's header.
type header struct {
	Code     int               `json:"code"`
	Language string            `json:"language"`
	Version  int               `json:"version"`
	Opaque   int32             `json:"opaque"`
	Flag     int32             `json:"flag"`
	Remark   string            `json:"remark,omitempty"`
	Ext      map[string]string `json:"extFields,omitempty"`
}

// answerHeader is the parsed part of an answer's header. Fields that are not strings, from servers not written in Java, are taken as their
// JSON text.
type answerHeader struct {
	Code    int              `json:"code"`
	Version int              `json:"version"`
	Opaque  int32            `json:"opaque"`
	Flag    int32            `json:"flag"`
	Remark  string           `json:"remark"`
	Ext     map[string]value `json:"extFields"`
}

// value is a string, or any other JSON value's text.
type value string

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(v))
	}
	*v = value(b)
	return nil
}

// AppendFrame appends the command as a complete frame (length, header, body) to dst.
func (c *Command) AppendFrame(dst []byte) ([]byte, error) {
	if c.Binary {
		return c.appendBinaryFrame(dst)
	}
	h, err := json.Marshal(header{
		Code: c.Code, Language: "GO", Version: c.Version, Opaque: c.Opaque, Flag: c.Flag, Remark: c.Remark, Ext: c.Ext,
	})
	if err != nil {
		return dst, fmt.Errorf("encode header of request %d: %w", c.Code, err)
	}
	if len(h) > 0xFFFFFF {
		return dst, fmt.Errorf("header of request %d has %d bytes, more than the protocol's %d", c.Code, len(h), 0xFFFFFF)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+len(h)+len(c.Body)))
	dst = binary.BigEndian.AppendUint32(dst, serializeJSON<<24|uint32(len(h)))
	dst = append(dst, h...)
	return append(dst, c.Body...), nil
}

// languageGo is the code of the client's language in the binary header.
const languageGo = 9

// appendBinaryFrame is AppendFrame with a binary header; see decodeBinaryHeader for its form.
func (c *Command) appendBinaryFrame(dst []byte) ([]byte, error) {
	fields := 0
	for k, v := range c.Ext {
		if len(k) > math.MaxInt16 {
			return dst, fmt.Errorf("field name of %d bytes in request %d", len(k), c.Code)
		}
		fields += 2 + len(k) + 4 + len(v)
	}
	n := binaryFixed + len(c.Remark) + fields
	if n > 0xFFFFFF {
		return dst, fmt.Errorf("header of request %d has %d bytes, more than the protocol's %d", c.Code, n, 0xFFFFFF)
	}
	dst = slices.Grow(dst, 8+n+len(c.Body))
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+n+len(c.Body)))
	dst = binary.BigEndian.AppendUint32(dst, serializeBinary<<24|uint32(n))
	dst = appendBinaryFixed(dst, c.Code, c.Version, c.Opaque, c.Flag)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.Remark)))
	dst = append(dst, c.Remark...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(fields))
	for k, v := range c.Ext {
		dst = appendField(dst, k, v)
	}
	return append(dst, c.Body...), nil
}

// binaryFixed is the size of a binary header without remark and fields.
const binaryFixed = 2 + 1 + 2 + 4 + 4 + 4 + 4

func appendBinaryFixed(dst []byte, code, version int, opaque, flag int32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	dst = append(dst, languageGo)
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(opaque))
	return binary.BigEndian.AppendUint32(dst, uint32(flag))
}

func appendField[V string | []byte](dst []byte, name string, value V) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(name)))
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// DecodeFrame reads a command from a frame without its leading length. The body is not copied.
func DecodeFrame(frame []byte) (*Command, error) {
	if len(frame) < 4 {
		return nil, fmt.Errorf("%w: frame of %d bytes", ErrMalformed, len(frame))
	}
	mark := binary.BigEndian.Uint32(frame)
	n := int(mark & 0xFFFFFF)
	if n > len(frame)-4 {
		return nil, fmt.Errorf("%w: header of %d bytes in a frame of %d", ErrMalformed, n, len(frame))
	}
	raw, body := frame[4:4+n], frame[4+n:]
	c := &Command{}
	switch mark >> 24 {
	case serializeJSON:
		var h answerHeader
		if err := json.Unmarshal(raw, &h); err != nil {
			return nil, fmt.Errorf("%w: header: %w", ErrMalformed, err)
		}
		c.Code, c.Version, c.Opaque, c.Flag, c.Remark = h.Code, h.Version, h.Opaque, h.Flag, h.Remark
		if len(h.Ext) > 0 {
			c.Ext = make(map[string]string, len(h.Ext))
			for k, v := range h.Ext {
				c.Ext[k] = string(v)
			}
		}
	case serializeBinary:
		if err := decodeBinaryHeader(c, raw); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: unknown serialization type %d", ErrMalformed, mark>>24)
	}
	c.Body = body
	return c, nil
}

// binaryHeader is a header in RocketMQ's own form. Its parts point into the frame.
type binaryHeader struct {
	code, version int
	opaque, flag  int32
	remark        []byte
	fields        reader
}

// parseBinaryHeader reads code(2) language(1) version(2) opaque(4) flag(4) remark(4+n) fields(4+n), each field name(2+n)
// value(4+n).
func parseBinaryHeader(raw []byte) (binaryHeader, bool) {
	var h binaryHeader
	r := reader{b: raw}
	h.code = int(int16(r.uint16()))
	r.skip(1)
	h.version = int(int16(r.uint16()))
	h.opaque = int32(r.uint32())
	h.flag = int32(r.uint32())
	h.remark = r.bytes(int(int32(r.uint32())))
	h.fields = reader{b: r.bytes(int(int32(r.uint32())))}
	return h, !r.bad
}

// field reads the next field.
func (r *reader) field() (name, value []byte) {
	name = r.bytes(int(r.uint16()))
	return name, r.bytes(int(int32(r.uint32())))
}

// decodeBinaryHeader fills in a command from a header in RocketMQ's own form.
func decodeBinaryHeader(c *Command, raw []byte) error {
	h, ok := parseBinaryHeader(raw)
	if !ok {
		return fmt.Errorf("%w: binary header of %d bytes", ErrMalformed, len(raw))
	}
	c.Code, c.Version, c.Opaque, c.Flag, c.Remark = h.code, h.version, h.opaque, h.flag, string(h.remark)
	for len(h.fields.b) > 0 {
		k, v := h.fields.field()
		if h.fields.bad {
			return fmt.Errorf("%w: fields of a binary header", ErrMalformed)
		}
		if c.Ext == nil {
			c.Ext = make(map[string]string)
		}
		c.Ext[string(k)] = string(v)
	}
	return nil
}
