package packet

import (
	"errors"
	"io"
)

// Reader decodes the packets of one connection. It is not safe for concurrent use. Every error is final: later calls return it again.
type Reader struct {
	// Client makes the Reader accept what servers send and refuse what clients send; false is the server's side. Set it, and the
	// version, before the first packet.
	Client bool

	// Large, if set, is called before a body of over 16 KiB is read, with its size in bytes. An error ends the reading. It may block.
	Large func(n int) error
	// Message, if set, is called before the body of a PUBLISH is read, with its size in bytes. An error ends the reading. It may block.
	Message func(n int) error

	in        input
	max       uint32
	version   Version
	connected bool // a CONNECT was read
	size      int  // of the last packet
	err       error
}

// NewReader returns a Reader for the server's side without a version yet: the first packet must be CONNECT. maxPacketSize is in bytes and
// counts the whole packet, fixed header included; 0 means no limit.
func NewReader(r io.Reader, maxPacketSize uint32) *Reader {
	return &Reader{in: newInput(r), max: maxPacketSize}
}

// SetVersion sets the version of the following packets. A CONNECT sets it, too.
func (r *Reader) SetVersion(v Version) { r.version = v }

// Version returns the version of the connection, 0 while it is unknown.
func (r *Reader) Version() Version { return r.version }

// SetMaxPacketSize changes the limit for the following packets.
func (r *Reader) SetMaxPacketSize(n uint32) { r.max = n }

// Buffered returns how many bytes have arrived and are not yet decoded: 0 means that the next ReadPacket has to wait for the peer.
func (r *Reader) Buffered() int { return r.in.buffered() }

// Release returns pooled memory when the connection is over, or idle for a while. Bytes that were read but not decoded are lost.
func (r *Reader) Release() { r.in.release() }

// Poll reads what is available at once, and reports whether that is anything. An error counts, and the next ReadPacket returns it. The read
// deadline of the connection must have passed; here that is not an error.
func (r *Reader) Poll() bool { return r.in.poll() }

// Size returns the size of the last packet in bytes, including its header.
func (r *Reader) Size() int { return r.size }

// ReadPacket waits for the next packet and decodes it. Failures to decode are *Error. Errors of the connection are returned unchanged:
// io.EOF only between two packets, io.ErrUnexpectedEOF within one.
func (r *Reader) ReadPacket() (Packet, error) {
	if r.err != nil {
		return nil, r.err
	}
	p, err := r.readPacket()
	if err != nil {
		r.err = err
		return nil, err
	}
	r.in.settle()
	return p, nil
}

func (r *Reader) readPacket() (Packet, error) {
	h, err := r.readHeader()
	if err != nil {
		return nil, err
	}
	if r.Large != nil && h.remaining > len(chunk{}.b) {
		if err := r.Large(h.remaining); err != nil {
			return nil, err
		}
	}
	d := decoder{t: Type(h.first >> 4), v: r.version, client: r.Client}
	if d.t == PUBLISH {
		if r.Message != nil {
			if err := r.Message(h.remaining); err != nil {
				return nil, err
			}
		}
		// Topic, payload and properties point into the body, so the packet gets its own copy.
		d.alias = true
		d.b, err = r.in.own(h.remaining)
	} else {
		d.b, err = r.in.view(h.remaining)
	}
	if err != nil {
		return nil, unexpected(err)
	}
	p := d.packet(h.first & 15)
	if d.t == CONNECT && d.v == V5 && h.padded {
		d.fail(MalformedPacket, "", "MQTT-1.5.5-1", "the remaining length is not in its shortest form")
	}
	if d.err != nil {
		return nil, d.err
	}
	if d.t == CONNECT {
		r.version, r.connected = d.v, true
	}
	return p, nil
}

// packet decodes one body. The result means nothing when d.err is set.
func (d *decoder) packet(flags byte) Packet {
	switch d.t {
	case CONNECT:
		return decodeConnect(d)
	case CONNACK:
		return decodeConnack(d)
	case PUBLISH:
		return decodePublish(d, flags)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return decodeAck(d)
	case SUBSCRIBE:
		return decodeSubscribe(d)
	case SUBACK:
		return decodeSuback(d)
	case UNSUBSCRIBE:
		return decodeUnsubscribe(d)
	case UNSUBACK:
		return decodeUnsuback(d)
	case PINGREQ:
		d.end()
		return &Pingreq{}
	case PINGRESP:
		d.end()
		return &Pingresp{}
	case DISCONNECT:
		return decodeDisconnect(d)
	default:
		return decodeAuth(d)
	}
}

// header is a fixed header (MQTT 5, 2.1.1).
type header struct {
	first     byte
	remaining int
	padded    bool // the length is not in its shortest form, which 3.1.1 does not forbid
}

// readHeader reads the fixed header and refuses invalid packets as early as possible, before their body is read.
func (r *Reader) readHeader() (h header, err error) {
	if err := r.in.fill(1); err != nil {
		return h, err // io.EOF here is a clean end
	}
	h.first = r.in.peek(0)
	if e := r.checkFirstByte(h.first); e != nil {
		return h, e
	}
	t := Type(h.first >> 4)
	for i := 1; ; i++ {
		if err := r.in.fill(i + 1); err != nil {
			return h, unexpected(err)
		}
		b := r.in.peek(i)
		h.remaining |= int(b&0x7f) << (7 * (i - 1))
		if b&0x80 == 0 {
			h.padded = b == 0 && i > 1
			r.in.skip(i + 1)
			r.size = h.remaining + i + 1
			if r.max > 0 && uint32(h.remaining+i+1) > r.max {
				return h, newError(t, r.version, PacketTooLarge, "", r.sizeStatement(), "%d bytes, the most is %d", h.remaining+i+1, r.max)
			}
			break
		}
		if i == 4 {
			return h, newError(t, r.version, MalformedPacket, "", "MQTT-1.5.5-1", "the remaining length is longer than 4 bytes")
		}
	}
	if h.padded && r.version == V5 {
		return h, newError(t, r.version, MalformedPacket, "", "MQTT-1.5.5-1", "the remaining length is not in its shortest form")
	}
	return h, nil
}

// checkFirstByte checks the type and the flags.
func (r *Reader) checkFirstByte(b byte) error {
	t, flags := Type(b>>4), b&15
	fail := func(code Code, v3, v5, reason string) error {
		return newError(t, r.version, code, v3, v5, "%s", reason)
	}
	switch {
	case t == 0:
		return fail(MalformedPacket, "MQTT-4.8.0-1", "MQTT-4.13.1-1", "packet type 0")
	case r.version == 0 && t != CONNECT:
		return fail(ProtocolError, "MQTT-3.1.0-1", "MQTT-3.1.0-1", "the first packet is not CONNECT")
	case t == CONNECT && r.connected:
		return fail(ProtocolError, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT")
	case t == AUTH && r.version != V5:
		return fail(ProtocolError, "MQTT-4.8.0-1", "", "MQTT 3 has no packet type 15")
	case !r.Client && t.fromServerOnly():
		return fail(ProtocolError, "MQTT-4.8.0-1", "MQTT-4.13.1-1", "only a server sends it")
	case r.Client && t.fromClientOnly(r.version):
		return fail(ProtocolError, "MQTT-4.8.0-1", "MQTT-4.13.1-1", "only a client sends it")
	case t == PUBLISH:
		if e := checkPublishFlags(flags, r.version); e != nil {
			return e
		}
		return nil
	}
	want := t.fixedFlags()
	if r.version == V31 && want != 0 {
		flags &^= 8 // MQTT 3.1 sets DUP on a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is resent
	}
	if flags != want {
		v3, v5 := flagsStatements(t)
		return fail(MalformedPacket, v3, v5, "reserved flags in the first byte")
	}
	return nil
}

// flagsStatements returns the statements that define the lower half of a packet's first byte.
func flagsStatements(t Type) (v3, v5 string) {
	switch t {
	case PUBREL:
		return "MQTT-3.6.1-1", "MQTT-3.6.1-1"
	case SUBSCRIBE:
		return "MQTT-3.8.1-1", "MQTT-3.8.1-1"
	case UNSUBSCRIBE:
		return "MQTT-3.10.1-1", "MQTT-3.10.1-1"
	case DISCONNECT:
		return "MQTT-3.14.1-1", "MQTT-3.14.1-1"
	case AUTH:
		return "", "MQTT-3.15.1-1"
	default:
		return "MQTT-2.2.2-2", "MQTT-2.1.3-1"
	}
}

// sizeStatement returns the statement of MQTT 5 that lets the reader limit the size of packets.
func (r *Reader) sizeStatement() string {
	if r.Client {
		return "MQTT-3.1.2-24"
	}
	return "MQTT-3.2.2-15"
}

// unexpected turns the end of the connection within a packet into io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
