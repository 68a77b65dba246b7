package flight

import (
	"slices"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// Message is a QoS 1 or 2 message that is under way to the client.
type Message struct {
	ID              uint16
	QoS             byte
	Retain          bool
	Noted           bool           // QoS 2: the journal makes the client forget the packet id after a crash
	Assigned        bool           // QoS 2: the packet id is not the record's own, so the journal has it
	Unsent          bool           // waits for the journal
	Recalled        bool           // a queue that does not count among its progress may bring the record again
	Received        bool           // PUBREC came
	Released        bool           // and PUBREL was, or is about to be, sent
	Withdrawn       bool           // the client may not be sent it any more
	Done            bool           // it is over
	Content         *store.Message // nil once received
	SubscriptionIDs []uint32
	RecordID        string          // empty for retained messages and those of shared groups
	Lease           *delivery.Lease // of a shared group's record

	kept     int64  // what its content costs of Window.Memory
	seq      uint64 // in the order of PUBLISH packets, and of PUBREC packets once received
	progress []*Progress
}

// Window holds the messages that are under way to the client, by packet id and by record. The zero value is empty, and costs
// nothing while it is.
type Window struct {
	// Memory is given back what messages cost that are kept to be sent again; nil: nobody counts.
	Memory Memory

	kept     int64
	byID     map[uint16]*Message
	byRecord map[string]*Message
	reserved map[uint16]bool
	last     uint16
	seq      uint64
}

// Memory is what kept messages are counted in.
type Memory interface{ Give(bytes int64) }

// Keep notes what the content of a message costs, in bytes, for as long as it is kept.
func (w *Window) Keep(m *Message, cost int64) {
	m.kept = cost
	w.kept += cost
}

// Kept is what the contents of messages under way cost, in bytes.
func (w *Window) Kept() int64 { return w.kept }

// free gives back what the content of a message costs.
func (w *Window) free(m *Message) {
	if m.kept > 0 && w.Memory != nil {
		w.Memory.Give(m.kept)
	}
	w.kept -= m.kept
	m.kept = 0
}

// Release gives back what all messages cost: the window is not used any more.
func (w *Window) Release() {
	for _, m := range w.byID {
		w.free(m)
	}
}

// Incomplete reports whether the content of a message that the client may not have is not there any more.
func (w *Window) Incomplete() bool {
	for _, m := range w.byID {
		if m.Content == nil && !m.Received && !m.Released {
			return true
		}
	}
	return false
}

// GiveUp takes out, and returns, the messages that the client may not have and that queues bring again.
func (w *Window) GiveUp() []*Message {
	var gone []*Message
	for _, m := range w.InOrder() {
		switch {
		case len(m.progress) == 0:
		case m.Received, m.Released:
			m.progress, m.Recalled = nil, true
		default:
			w.Remove(m)
			gone = append(gone, m)
		}
	}
	return gone
}

// Len is how many messages are under way.
func (w *Window) Len() int { return len(w.byID) }

// Get returns the message with a packet id, or nil.
func (w *Window) Get(id uint16) *Message { return w.byID[id] }

// OfRecord returns the message that a record is under way as, or nil.
func (w *Window) OfRecord(recordID string) *Message { return w.byRecord[recordID] }

// BeginAfter makes the next packet id that is chosen the one after id.
func (w *Window) BeginAfter(id uint16) { w.last = id }

// Taken reports whether a packet id is under way or reserved.
func (w *Window) Taken(id uint16) bool { return w.byID[id] != nil || w.reserved[id] }

// Reserve keeps a packet id from being chosen: the client may hold it for a record that was not sent again yet after a crash.
func (w *Window) Reserve(id uint16) {
	if w.reserved == nil {
		w.reserved = make(map[uint16]bool)
	}
	w.reserved[id] = true
}

// Unreserve ends a reservation.
func (w *Window) Unreserve(id uint16) { delete(w.reserved, id) }

// Add puts a message under way, with a free packet id unless it has one. There is always a free one: a client's window is smaller
// than the number of ids.
func (w *Window) Add(m *Message) {
	for m.ID == 0 {
		w.last++
		if !w.Taken(w.last) {
			m.ID = w.last
		}
	}
	if w.byID == nil {
		w.byID = make(map[uint16]*Message, 4)
		w.byRecord = make(map[string]*Message, 4)
	}
	w.seq++
	m.seq = w.seq
	w.byID[m.ID] = m
	if m.RecordID != "" {
		w.byRecord[m.RecordID] = m
	}
}

// Remove ends a message. Progress that waits for it does not move: see Complete.
func (w *Window) Remove(m *Message) {
	m.Done = true
	w.free(m)
	delete(w.byID, m.ID)
	if w.byRecord[m.RecordID] == m {
		delete(w.byRecord, m.RecordID)
	}
	if len(w.byID) == 0 {
		w.byID, w.byRecord = nil, nil // idle sessions cost nothing
	}
}

// Complete ends a message and moves the progress that waited for it. It reports whether any moved.
func (w *Window) Complete(m *Message) (moved bool) {
	w.Remove(m)
	for _, p := range m.progress {
		moved = p.advance() || moved
	}
	m.progress, m.Content = nil, nil
	return moved
}

// InOrder returns the messages in the order in which they are sent again: PUBREL packets in the order of their PUBREC packets
// [MQTT-4.6.0-4], and then PUBLISH packets in the order in which they were first sent [MQTT-4.6.0-1].
func (w *Window) InOrder() []*Message {
	all := make([]*Message, 0, len(w.byID))
	for _, m := range w.byID {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Message) int {
		switch {
		case a.Released != b.Released && a.Released, a.Released == b.Released && a.seq < b.seq:
			return -1
		default:
			return 1
		}
	})
	return all
}

// Step is what an acknowledgement of the client asks for.
type Step uint8

// Steps.
const (
	// Nothing: the packet fits no message that is under way.
	Nothing Step = iota
	// Unknown: a PUBREC for a packet id that is not under way. It is answered, so that the client can go on [MQTT-4.3.3-8].
	Unknown
	// Complete: the message is over.
	Complete
	// Release: the client has the message; PUBREL is due.
	Release
	// ReleaseAgain: PUBREL is under way already, and is sent again.
	ReleaseAgain
	// Wait: PUBREL is due already, and not to be sent yet.
	Wait
)

// Ack takes a PUBACK, PUBREC or PUBCOMP and says what follows for which message. A first PUBREC marks the message as received; the
// caller completes messages.
func (w *Window) Ack(kind packet.Type, id uint16, code packet.Code) (*Message, Step) {
	m := w.byID[id]
	switch {
	case m == nil && kind == packet.PUBREC:
		return nil, Unknown
	case m == nil:
		return nil, Nothing
	case kind == packet.PUBACK && m.QoS == 1, kind == packet.PUBCOMP && m.QoS == 2 && m.Released:
		return m, Complete
	case kind != packet.PUBREC || m.QoS != 2:
		return m, Nothing
	case code >= packet.UnspecifiedError:
		return m, Complete
	case m.Released:
		return m, ReleaseAgain
	case m.Received:
		return m, Wait
	default:
		m.Received, m.Content = true, nil
		w.free(m)
		w.seq++
		m.seq = w.seq // its place is now that of its PUBREL
		return m, Release
	}
}
