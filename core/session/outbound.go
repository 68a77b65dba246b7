package session

import (
	"hash/fnv"
	"slices"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// outMessage is a QoS 1 or 2 message in flight to the client.
type outMessage struct {
	id       uint16
	qos      byte
	retain   bool
	noted    bool // QoS 2: the journal makes the client forget the packet id after a crash
	assigned bool // QoS 2: the packet id is not the record's own, so the journal has it
	unsent   bool // waits for the journal
	recalled bool // known from the journal; a queue may bring the record again
	received bool // PUBREC came
	released bool // and PUBREL was, or is about to be, sent
	done     bool
	seq      uint64         // in the order of PUBLISH packets, and of PUBREC packets once released
	m        *store.Message // nil once released
	subIDs   []uint32
	recordID string // empty for retained messages
	feeds    []*feed
	lease    *delivery.Lease // of a shared group's record
}

// outbound holds the messages in flight to the client, by packet id and by record. Guarded by Session.mu.
type outbound struct {
	byID     map[uint16]*outMessage
	byRecord map[string]*outMessage
	// reserved are packet ids that the client may hold for records that were not sent again yet after a crash.
	reserved map[uint16]bool
	last     uint16
	seq      uint64
}

// add gives a message a packet id, unless it has one. There is always a free one: the window is smaller than the number of ids.
func (o *outbound) add(d *outMessage) {
	for d.id == 0 {
		o.last++
		if !o.taken(o.last) {
			d.id = o.last
		}
	}
	o.restore(d)
}

func (o *outbound) taken(id uint16) bool { return o.byID[id] != nil || o.reserved[id] }

// restore puts a message with a packet id in flight.
func (o *outbound) restore(d *outMessage) {
	if o.byID == nil {
		o.byID = make(map[uint16]*outMessage, 4)
		o.byRecord = make(map[string]*outMessage, 4)
	}
	o.seq++
	d.seq = o.seq
	o.byID[d.id] = d
	if d.recordID != "" {
		o.byRecord[d.recordID] = d
	}
}

func (o *outbound) remove(d *outMessage) {
	delete(o.byID, d.id)
	if o.byRecord[d.recordID] == d {
		delete(o.byRecord, d.recordID)
	}
	if len(o.byID) == 0 {
		o.byID, o.byRecord = nil, nil // idle sessions cost nothing
	}
}

// inOrder returns the messages in the order in which they are sent again: PUBREL packets in the order of their PUBREC packets
// [MQTT-4.6.0-4], and then PUBLISH packets in the order in which they were first sent [MQTT-4.6.0-1].
func (o *outbound) inOrder() []*outMessage {
	all := make([]*outMessage, 0, len(o.byID))
	for _, d := range o.byID {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *outMessage) int {
		switch {
		case a.released != b.released && a.released, a.released == b.released && a.seq < b.seq:
			return -1
		default:
			return 1
		}
	})
	return all
}

// Ack takes a PUBACK, PUBREC or PUBCOMP of the client. It returns false for a packet id that is not in flight.
func (s *Session) Ack(kind packet.Type, id uint16, code packet.Code) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.out.byID[id]
	switch {
	case kind == packet.PUBREC && d == nil:
		// [MQTT-4.3.3-8]: the client must be able to go on; an unknown id is answered, not ignored.
		s.sendRelease(id, packet.PacketIdentifierNotFound)
		return false
	case d == nil:
		return false
	case kind == packet.PUBACK && d.qos == 1, kind == packet.PUBCOMP && d.qos == 2 && d.released:
		s.complete(d)
	case kind == packet.PUBREC && d.qos == 2 && code >= packet.UnspecifiedError:
		s.complete(d)
	case kind == packet.PUBREC && d.qos == 2 && d.received:
		if d.released {
			s.sendRelease(id, packet.Success)
		}
	case kind == packet.PUBREC && d.qos == 2:
		d.received, d.m = true, nil
		s.out.seq++
		d.seq = s.out.seq // its place is now that of its PUBREL
		if !s.durable() {
			s.release(d)
			break
		}
		s.note(func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil || d.done {
				return
			}
			if d.lease != nil { // the journal sees to it now
				d.lease.Ack()
				d.lease = nil
			}
			s.release(d)
		})
	default:
		return false
	}
	return true
}

// release sends PUBREL. Called with mu held.
func (s *Session) release(d *outMessage) {
	d.released = true
	if s.started {
		s.sendRelease(d.id, packet.Success)
	}
}

func (s *Session) sendRelease(id uint16, code packet.Code) {
	if s.conn != nil {
		s.conn.SendAck(packet.PUBREL, id, code)
	}
}

// complete ends a message in flight. Called with mu held.
func (s *Session) complete(d *outMessage) {
	d.done = true
	s.out.remove(d)
	s.finish(d)
	for _, f := range d.feeds {
		f.advance()
	}
	if d.lease != nil {
		d.lease.Ack()
	}
	d.feeds, d.m, d.lease = nil, nil, nil
	s.wake()
}

// sendAgain sends what was in flight when the last connection ended [MQTT-4.4.0-1], as far as the client's window and the
// connection's buffer allow; it reports whether all of it is sent. A message whose time is over is sent as well: the client may
// know its packet id already. Called with mu held.
func (s *Session) sendAgain() bool {
	left := 0
	for _, d := range s.resend {
		if !d.done {
			left++
		}
	}
	for i, d := range s.resend {
		switch {
		case d.done:
			continue
		case d.unsent, d.received && !d.released: // the journal goes on with it
		case s.blocked(), !d.released && len(s.out.byID)-left >= s.window:
			s.resend = s.resend[i:]
			return false
		case d.released:
			s.conn.SendAck(packet.PUBREL, d.id, packet.Success)
		case s.send(d.m, d.qos, d.retain, true, d.id, d.subIDs) == TooLarge:
			s.complete(d)
		}
		left--
	}
	s.resend = nil
	return true
}

// packetID is the record's own packet id, of its QoS 2 message to a durable session: always the same, so that a client to which it is
// sent again after a crash of the node knows it again. Where it is taken the message gets another one, by way of the journal.
func packetID(recordID string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(recordID))
	return uint16(h.Sum32()%65535) + 1
}

// sendNoted sends a QoS 2 message once the journal knows its packet id. Called with mu held.
func (s *Session) sendNoted(d *outMessage) {
	d.unsent = true
	s.note(func(err error) {
		s.mu.Lock()
		d.unsent = false
		if d.assigned {
			s.noting = false
		}
		switch {
		case err != nil, d.done, s.conn == nil:
		case !s.started: // Start sends it
		case s.send(d.m, d.qos, d.retain, false, d.id, d.subIDs) == TooLarge:
			s.complete(d)
		}
		s.flush()
		s.mu.Unlock()
		s.wake()
	})
}
