package flight

import (
	"slices"

	"github.com/lmqgate/lmqgate/core/delivery"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// Message is a QoS 1 or 2 message in flight to the client.
type Message struct {
	ID              uint16
	QoS             byte
	Retain          bool
	Noted           bool           // QoS 2: the journal makes the client forget the packet id after a crash
	Assigned        bool           // QoS 2: the packet id was not derived from the record's id, so the journal has it
	Unsent          bool           // was not sent yet, because the journal has to have its packet id first
	Noting          bool           // the journal is about to store a state with it
	Recalled        bool           // a queue that is not among its progress may bring the record again
	Received        bool           // PUBREC has arrived
	Released        bool           // PUBREL was sent or is about to be
	Withdrawn       bool           // the client may no longer be sent the message
	Done            bool           // the exchange is over
	Content         *store.Message // nil once received
	SubscriptionIDs []uint32
	RecordID        string          // empty for retained messages and records of shared groups
	Lease           *delivery.Lease // of a shared group's record; else nil

	kept     int64  // bytes of Window.Memory that its content takes
	seq      uint64 // in the order of PUBLISH packets, and of PUBREC packets once received
	progress []*Progress
}

// Window holds the messages in flight to the client, by packet id and by record. The zero value is empty, and an empty Window takes no
// further memory.
type Window struct {
	// Memory gets back the bytes of messages that were kept for sending again; nil: nobody counts.
	Memory Memory

	kept     int64
	byID     map[uint16]*Message
	byRecord map[string]*Message
	reserved map[uint16]bool
	last     uint16
	seq      uint64
}

// Memory counts the bytes of kept messages.
type Memory interface{ Give(bytes int64) }

// Keep records that the content of a message takes cost bytes for as long as it is kept.
func (w *Window) Keep(m *Message, cost int64) {
	m.kept = cost
	w.kept += cost
}

// Kept returns the bytes that the contents of messages in flight take.
func (w *Window) Kept() int64 { return w.kept }

// free gives back the bytes that a message's content takes.
func (w *Window) free(m *Message) {
	if m.kept > 0 && w.Memory != nil {
		w.Memory.Give(m.kept)
	}
	w.kept -= m.kept
	m.kept = 0
}

// Release gives back the bytes of all messages. The Window must not be used afterwards.
func (w *Window) Release() {
	for _, m := range w.byID {
		w.free(m)
	}
}

// Incomplete reports whether the content of any message that the client may not have received is no longer in memory.
func (w *Window) Incomplete() bool {
	for _, m := range w.byID {
		if m.Content == nil && !m.Received && !m.Released {
			return true
		}
	}
	return false
}

// GiveUp removes and returns the messages that the client may not have received and that queues bring again.
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

// Len returns the number of messages in flight.
func (w *Window) Len() int { return len(w.byID) }

// Get returns the message with a packet id, or nil.
func (w *Window) Get(id uint16) *Message { return w.byID[id] }

// OfRecord returns the message in flight for a record, or nil.
func (w *Window) OfRecord(recordID string) *Message { return w.byRecord[recordID] }

// BeginAfter makes the search for the next packet id begin after id.
func (w *Window) BeginAfter(id uint16) { w.last = id }

// Taken reports whether a packet id is in flight or reserved.
func (w *Window) Taken(id uint16) bool { return w.byID[id] != nil || w.reserved[id] }

// Reserve keeps a packet id from being chosen: after a crash the client may hold it for a record that was not sent again yet.
func (w *Window) Reserve(id uint16) {
	if w.reserved == nil {
		w.reserved = make(map[uint16]bool)
	}
	w.reserved[id] = true
}

// Unreserve ends a reservation.
func (w *Window) Unreserve(id uint16) { delete(w.reserved, id) }

// Add puts a message in flight. Unless it has a packet id, it gets a free one. There always is one: a client's window is smaller than the
// number of ids.
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

// Remove ends a message without moving the progress that waits for it; see Complete.
func (w *Window) Remove(m *Message) {
	m.Done = true
	w.free(m)
	delete(w.byID, m.ID)
	if w.byRecord[m.RecordID] == m {
		delete(w.byRecord, m.RecordID)
	}
	if len(w.byID) == 0 {
		w.byID, w.byRecord = nil, nil // an idle session takes no memory here
	}
}

// Complete ends a message and moves the progress that waited for it. It reports whether any commit offset moved.
func (w *Window) Complete(m *Message) (moved bool) {
	w.Remove(m)
	for _, p := range m.progress {
		moved = p.advance() || moved
	}
	m.progress, m.Content = nil, nil
	return moved
}

// InOrder returns the messages in the order in which they are sent again: first PUBREL packets in the order of their PUBREC packets
// [MQTT-4.6.0-4], then PUBLISH packets in the order in which they were first sent [MQTT-4.6.0-1].
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

// Step is what has to follow an acknowledgement from the client.
type Step uint8

// The possible steps.
const (
	// Nothing: the packet fits no message in flight.
	Nothing Step = iota
	// Unknown: a PUBREC for a packet id that is not in flight. It is answered, so that the client can go on [MQTT-4.3.3-8].
	Unknown
	// Complete: the exchange is over.
	Complete
	// Release: the client has the message; send PUBREL.
	Release
	// ReleaseAgain: PUBREL was sent already; send it again.
	ReleaseAgain
	// Wait: PUBREL is due, but must not be sent yet.
	Wait
)

// Ack handles a PUBACK, PUBREC or PUBCOMP. It returns the message concerned and the step that follows. The first PUBREC marks the message
// as received. Completing messages is up to the caller.
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
		m.seq = w.seq // from now on it has the place of its PUBREL
		return m, Release
	}
}
