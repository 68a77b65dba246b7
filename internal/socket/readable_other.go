//go:build !unix

package socket

import "net"

// WaitReadable does not wait on this system.
func WaitReadable(net.Conn) error { return nil }
