package fault

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// link is one connection of a client to a gateway.
type link struct {
	net.Conn
	to      *node
	version packet.Version
	present bool // session present in CONNACK
	closed  chan struct{}
	// replaced is when a newer connection of the client was admitted, in nanoseconds; 0: never.
	replaced atomic.Int64

	mu sync.Mutex // orders writes
}

// errRefused means that a gateway answered CONNECT with an error.
type errRefused struct{ code packet.Code }

func (e *errRefused) Error() string { return fmt.Sprintf("CONNACK has code %#x", byte(e.code)) }

// dial connects a client. f is called for each packet after CONNACK, by one goroutine.
func dial(to *node, c *packet.Connect, wait time.Duration, f func(*link, packet.Packet)) (*link, error) {
	conn, err := net.DialTimeout("tcp", to.address(), wait)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(c.ClientID))
	c.HasUsername, c.Username, c.HasPassword = true, user, true
	c.Password = []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	l := &link{Conn: conn, to: to, version: c.Version, closed: make(chan struct{})}
	if err := l.send(c); err != nil {
		_ = conn.Close()
		return nil, err
	}
	in := packet.NewReader(conn, 0)
	in.Client = true
	in.SetVersion(c.Version)
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	p, err := in.ReadPacket()
	connack, ok := p.(*packet.Connack)
	switch {
	case err != nil:
	case !ok:
		err = errors.New("the first packet is no CONNACK")
	case connack.Code != packet.Success:
		err = &errRefused{connack.Code}
	}
	if err != nil {
		_ = conn.Close()
		in.Release()
		return nil, fmt.Errorf("connecting %s to %s: %w", c.ClientID, to.id, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	l.present = connack.SessionPresent
	go func() {
		defer close(l.closed)
		defer in.Release()
		defer func() { _ = conn.Close() }()
		for {
			p, err := in.ReadPacket()
			if err != nil {
				return
			}
			f(l, p)
		}
	}()
	return l, nil
}

// send writes packets; a connection that accepts nothing for a while is closed.
func (l *link) send(packets ...packet.Packet) error {
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = packet.Append(b, p, l.version); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := l.Write(b)
	return err
}

// over reports whether the connection has ended.
func (l *link) over() bool {
	if l == nil {
		return true
	}
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// lateAfter is how long after the admission of a newer connection a packet on an older one can no longer have been in flight before.
const lateAfter = 2 * time.Second

// late reports whether the connection was replaced longer than lateAfter ago.
func (l *link) late() bool {
	at := l.replaced.Load()
	return at != 0 && time.Since(time.Unix(0, at)) > lateAfter
}

func (l *link) isReplaced() { l.replaced.CompareAndSwap(0, time.Now().UnixNano()) }
