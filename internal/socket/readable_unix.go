//go:build unix

package socket

import (
	"net"
	"syscall"
)

// WaitReadable waits until a connection has something to read, including its end, or its read deadline has passed. It reads nothing and
// needs no buffer. For connections that are not sockets it returns at once.
func WaitReadable(nc net.Conn) error {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil //nolint:nilerr // the next read returns the error
	}
	return raw.Read(readable)
}

// readable reports whether a read would not have to wait.
func readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
}
