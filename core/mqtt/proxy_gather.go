package mqtt

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
)

const (
	// maxHeaderV1 is the longest PROXY protocol header of version 1, in bytes (section 2.1 of its specification).
	maxHeaderV1 = 107
	// maxHeaderV2 bounds a header of version 2, additional values included, in bytes.
	maxHeaderV2 = 2048
	// fixedHeaderV2 is the part of a header of version 2 that says how long the rest is.
	fixedHeaderV2 = 16
)

var (
	signatureV1 = []byte("PROXY")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// gathered is a connection whose first Read waits until a whole PROXY protocol header is there, and returns it in one piece: the
// header's parser takes a version 1 header that came in two segments for an attack. The parser sets the deadline. What is no header,
// or longer than one may be, goes on to the parser as it came, for it to say so.
type gathered struct {
	net.Conn
	buf  []byte // read and not handed over yet
	done bool
}

// Read implements net.Conn.
func (g *gathered) Read(b []byte) (int, error) {
	if !g.done {
		err := g.gather()
		g.done = true
		if err != nil && len(g.buf) == 0 {
			return 0, err
		}
	}
	if len(g.buf) == 0 {
		g.buf = nil
		return g.Conn.Read(b)
	}
	n := copy(b, g.buf)
	g.buf = g.buf[n:]
	return n, nil
}

// gather reads until whole says that the header is there. What came behind it is handed over with it.
func (g *gathered) gather() error {
	buf := make([]byte, 0, 2*maxHeaderV1)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		n, err := g.Conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil || whole(buf) {
			g.buf = buf
			return err
		}
	}
}

// whole reports whether nothing is to be waited for: the header is there, or it is longer than one may be, or none.
func whole(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, signatureV2):
		if len(b) < fixedHeaderV2 {
			return false
		}
		size := fixedHeaderV2 + int(binary.BigEndian.Uint16(b[fixedHeaderV2-2:]))
		return len(b) >= size || size > maxHeaderV2
	case bytes.HasPrefix(b, signatureV1):
		return len(b) >= maxHeaderV1 || bytes.IndexByte(b, '\n') >= 0
	default:
		return !bytes.HasPrefix(signatureV1, b) && !bytes.HasPrefix(signatureV2, b)
	}
}
