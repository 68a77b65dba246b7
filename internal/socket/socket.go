// Package socket does with sockets what package net does not: it writes without blocking (Writer), waits for many idle connections without
// a goroutine or a buffer for each (Poller, WaitReadable), and listens on socket files that others may not open (ListenUnix).
//
// A goroutine that has bytes for an idle connection can write them itself, which costs less than waking a writer goroutine. A peer that
// reads slowly must not block it. So what the kernel does not accept at once is left to a writer that may block.
package socket

import (
	"net"
	"syscall"
)

// Writer writes to one connection without blocking. A nil Writer accepts nothing. It is not safe for concurrent use.
type Writer struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // created once, so that a write does not allocate

	b   []byte // what is left to write
	err error
}

// NewWriter makes a Writer, or nil for connections that are no plain TCP or Unix sockets (TLS, WebSocket) and on systems other
// than Unix.
func NewWriter(nc net.Conn) *Writer {
	if !supported {
		return nil
	}
	switch c := nc.(type) {
	case *net.TCPConn:
		return newWriter(c)
	case *net.UnixConn:
		return newWriter(c)
	default:
		return nil
	}
}

func newWriter(c syscall.Conn) *Writer {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &Writer{raw: raw}
	w.try = w.attempt
	return w
}

// Write writes as much of b as the kernel accepts at once, and returns that number of bytes. A full buffer is not an error. Nobody else may
// write to the connection meanwhile.
func (w *Writer) Write(b []byte) (int, error) {
	if w == nil {
		return 0, nil
	}
	w.b, w.err = b, nil
	err := w.raw.Write(w.try)
	n := len(b) - len(w.b)
	w.b = nil
	if err == nil {
		err = w.err
	}
	return n, err
}
