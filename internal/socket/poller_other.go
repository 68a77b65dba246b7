//go:build !linux

package socket

import "net"

// Poller waits for no connection on this system.
type Poller struct{}

// Wait is one connection's place in a Poller.
type Wait struct{}

// Waiter is notified when its connection can be read.
type Waiter interface {
	// Readable is called once for each Arm, from a goroutine of its own.
	Readable()
}

// NewPoller returns nil: this system has none.
func NewPoller() (*Poller, error) { return nil, nil } //nolint:nilnil // a nil Poller is one that waits for nobody

// Arm returns false.
func (*Poller) Arm(*Wait, net.Conn, Waiter) bool { return false }

// Disarm returns false.
func (*Poller) Disarm(*Wait) bool { return false }

// Waiting returns 0.
func (*Poller) Waiting() int { return 0 }

// Leave does nothing.
func (*Poller) Leave(*Wait) {}

// Close does nothing.
func (*Poller) Close() {}
