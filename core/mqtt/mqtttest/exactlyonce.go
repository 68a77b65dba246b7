package mqtttest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// Link is a connection of a client that keeps its state across connections, as the protocol requires; see Sender and Receiver.
type Link struct {
	nc net.Conn
	r  *packet.Reader
	v  packet.Version
}

// Open connects to an address with a persistent session.
func Open(addr string, cn *packet.Connect) (*Link, error) {
	nc, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	l := &Link{nc: nc, r: packet.NewReader(nc, 0), v: cn.Version}
	l.r.Client = true
	l.r.SetVersion(cn.Version)
	Keep(cn)
	if err = l.send(cn); err == nil {
		var p packet.Packet
		if p, err = l.r.ReadPacket(); err == nil {
			if a, ok := p.(*packet.Connack); !ok || a.Code.Failed() || a.Code != packet.Success {
				err = fmt.Errorf("CONNECT was answered with %v", p)
			}
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return l, nil
}

// Close closes the connection without DISCONNECT.
func (l *Link) Close() { _ = l.nc.Close() }

func (l *Link) send(p packet.Packet) error {
	b, err := packet.Append(nil, p, l.v)
	if err == nil {
		_, err = l.nc.Write(b)
	}
	return err
}

// Sender publishes numbered messages at QoS 2 to one topic, over as many connections as needed.
type Sender struct {
	Topic string

	mu       sync.Mutex
	next     int
	id       uint16
	inFlight []*outgoing
}

type outgoing struct {
	id       uint16
	payload  string
	received bool // PUBREC has arrived
}

const senderWindow = 6

// Sent returns how many messages were begun.
func (s *Sender) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Run publishes until the connection breaks, or until all messages before number last are complete.
func (s *Sender) Run(l *Link, last int) error {
	for _, m := range s.inFlight { // in flight when the last connection ended
		if m.received {
			if err := l.send(&packet.Ack{Kind: packet.PUBREL, PacketID: m.id}); err != nil {
				return err
			}
			continue
		}
		if err := s.publish(l, m, true); err != nil {
			return err
		}
	}
	for {
		for len(s.inFlight) < senderWindow && s.next < last {
			s.id = s.id%senderWindow + 1 // reuse ids as early as possible
			for slices.ContainsFunc(s.inFlight, func(m *outgoing) bool { return m.id == s.id }) {
				s.id = s.id%senderWindow + 1
			}
			m := &outgoing{id: s.id, payload: strconv.Itoa(s.next)}
			s.mu.Lock()
			s.next++
			s.mu.Unlock()
			s.inFlight = append(s.inFlight, m)
			if err := s.publish(l, m, false); err != nil {
				return err
			}
		}
		if len(s.inFlight) == 0 {
			return nil
		}
		p, err := l.r.ReadPacket()
		if err != nil {
			return err
		}
		a, ok := p.(*packet.Ack)
		if !ok {
			return fmt.Errorf("publisher: got %T", p)
		}
		i := slices.IndexFunc(s.inFlight, func(m *outgoing) bool { return m.id == a.PacketID })
		switch {
		case i < 0:
		case a.Kind == packet.PUBREC && a.Code.Failed(): // refused because the node is dying: send it again
			return fmt.Errorf("publisher: %s", a.Code)
		case a.Kind == packet.PUBREC:
			s.inFlight[i].received = true
			if err := l.send(&packet.Ack{Kind: packet.PUBREL, PacketID: a.PacketID}); err != nil {
				return err
			}
		case a.Kind == packet.PUBCOMP:
			s.inFlight = slices.Delete(s.inFlight, i, i+1)
		}
	}
}

func (s *Sender) publish(l *Link, m *outgoing, dup bool) error {
	return l.send(&packet.Publish{QoS: 2, Dup: dup, PacketID: m.id, Topic: s.Topic, Payload: []byte(m.payload)})
}

// Receiver takes messages at QoS 2, each once by its packet id, over as many connections as needed.
type Receiver struct {
	mu   sync.Mutex
	held map[uint16]bool
	got  []string
}

// Run takes messages until the connection ends.
func (r *Receiver) Run(l *Link) error {
	for {
		p, err := l.r.ReadPacket()
		if err != nil {
			return err
		}
		switch p := p.(type) {
		case *packet.Publish:
			r.mu.Lock()
			if !r.held[p.PacketID] {
				r.hold(p.PacketID)
				r.got = append(r.got, string(p.Payload))
			}
			r.mu.Unlock()
			err = l.send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID})
		case *packet.Ack:
			r.mu.Lock()
			delete(r.held, p.PacketID)
			r.mu.Unlock()
			err = l.send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
		}
		if err != nil {
			return err
		}
	}
}

func (r *Receiver) hold(id uint16) {
	if r.held == nil {
		r.held = make(map[uint16]bool)
	}
	r.held[id] = true
}

// Count returns how many messages were taken.
func (r *Receiver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// Got returns the payloads of the messages taken, in order.
func (r *Receiver) Got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// Numbers returns the payloads of the first n messages of a Sender.
func Numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}
