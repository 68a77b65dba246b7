package mqtt

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
)

const (
	// maxHeaderV1 is the longest PROXY protocol header of version 1, in bytes (section 2.1 of the specification).
	maxHeaderV1 = 107
	// maxHeaderV2 bounds a header of version 2, including additional values, in bytes.
	maxHeaderV2 = 2048
	// fixedHeaderV2 is the part of a version 2 header that contains the length of the rest, in bytes.
	fixedHeaderV2 = 16
)

var (
	signatureV1 = []byte("PROXY")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// gathered is a connection whose first Read waits for a whole PROXY protocol header and returns it in one piece: the header's parser takes
// a version 1 header that arrives in two segments for an attack. The parser sets the deadline. Input that is no header, or is longer than a
// header may be, is passed on unchanged for the parser to reject.
type gathered struct {
	net.Conn
	buf  []byte // read but not handed over yet
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

// gather reads until whole returns true. It hands over the bytes behind the header too.
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

// whole reports whether there is nothing to wait for: the header is complete, or too long, or not a header.
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
