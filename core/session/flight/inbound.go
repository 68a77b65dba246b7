package flight

import (
	"iter"

	"github.com/lmqgate/lmqgate/core/store"
)

// Taken is a QoS 2 message from the client that the client has not released.
type Taken struct {
	// Epoch and Counter identify the message in the journal; both are 0 if the journal does not have it.
	Epoch, Counter int64
	// Due is the position of a stored record whose retained message may not be recorded; nil: none.
	Due *store.Position

	stored  bool
	doubted bool // the client may have released it
	waiting []func(error)
}

// Inbound holds, by packet id, the QoS 2 messages that the client has not released. The zero value is empty.
type Inbound struct{ byID map[uint16]*Taken }

// Len returns the number of unreleased messages.
func (in *Inbound) Len() int { return len(in.byID) }

// Arrival classifies a QoS 2 PUBLISH.
type Arrival uint8

// The possible arrivals.
const (
	// New: store the message, then call Stored.
	New Arrival = iota
	// UnderWay: a repetition of a message that is being stored. done is called with the outcome.
	UnderWay
	// Repeated: a repetition of a message that is stored.
	Repeated
)

// Take records the arrival of a PUBLISH [MQTT-4.3.3-10].
func (in *Inbound) Take(id uint16, done func(error)) (*Taken, Arrival) {
	switch t := in.byID[id]; {
	case t == nil, t.doubted:
		t = &Taken{}
		in.put(id, t)
		return t, New
	case !t.stored:
		t.waiting = append(t.waiting, done)
		return t, UnderWay
	default:
		return t, Repeated
	}
}

// Restore puts back a message that is known to be stored. due is its Taken.Due.
func (in *Inbound) Restore(id uint16, epoch, counter int64, due *store.Position) {
	in.put(id, &Taken{Epoch: epoch, Counter: counter, Due: due, stored: true})
}

// Doubted reports whether the client may have released the message.
func (t *Taken) Doubted() bool { return t.doubted }

// Doubt says that the client may have released any of the messages, and used its packet id again: a PUBLISH with the packet id counts as
// new. A PUBREL is still known.
func (in *Inbound) Doubt() {
	for _, t := range in.byID {
		t.doubted = true
	}
}

func (in *Inbound) put(id uint16, t *Taken) {
	if in.byID == nil {
		in.byID = make(map[uint16]*Taken)
	}
	in.byID[id] = t
}

// Stored records whether a message was stored; with an error the message is forgotten. It returns the callbacks that wait for the outcome.
func (in *Inbound) Stored(id uint16, t *Taken, err error) []func(error) {
	waiting := t.waiting
	t.waiting, t.stored = nil, true
	if err != nil && in.byID[id] == t {
		in.remove(id)
	}
	return waiting
}

// Release handles a PUBREL. It returns nil for an unknown packet id.
func (in *Inbound) Release(id uint16) *Taken {
	t := in.byID[id]
	in.remove(id)
	return t
}

func (in *Inbound) remove(id uint16) {
	delete(in.byID, id)
	if len(in.byID) == 0 {
		in.byID = nil
	}
}

// All iterates over the messages, in no order.
func (in *Inbound) All() iter.Seq2[uint16, *Taken] {
	return func(yield func(uint16, *Taken) bool) {
		for id, t := range in.byID {
			if !yield(id, t) {
				return
			}
		}
	}
}
