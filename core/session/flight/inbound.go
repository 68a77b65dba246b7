package flight

import "iter"

// Taken is a QoS 2 message of the client that it has not released.
type Taken struct {
	// Epoch and Counter name it in the journal; both 0 where the journal does not have it.
	Epoch, Counter int64

	stored  bool
	waiting []func(error)
}

// Inbound holds the QoS 2 messages of the client that it has not released, by packet id. The zero value is empty.
type Inbound struct{ byID map[uint16]*Taken }

// Len is how many there are.
func (in *Inbound) Len() int { return len(in.byID) }

// Arrival says what a QoS 2 PUBLISH is.
type Arrival uint8

// Arrivals.
const (
	// New: it is to be stored, and Stored to be called then.
	New Arrival = iota
	// UnderWay: it is the same message again, which is being stored; done is called with what becomes of that.
	UnderWay
	// Repeated: it is the same message again, which is stored.
	Repeated
)

// Take takes a PUBLISH [MQTT-4.3.3-10].
func (in *Inbound) Take(id uint16, done func(error)) (*Taken, Arrival) {
	switch t := in.byID[id]; {
	case t == nil:
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

// Restore puts back a message that is known to be stored.
func (in *Inbound) Restore(id uint16, epoch, counter int64) {
	in.put(id, &Taken{Epoch: epoch, Counter: counter, stored: true})
}

func (in *Inbound) put(id uint16, t *Taken) {
	if in.byID == nil {
		in.byID = make(map[uint16]*Taken)
	}
	in.byID[id] = t
}

// Stored notes what became of a message; one that was not stored is forgotten. It returns who waits to be told.
func (in *Inbound) Stored(id uint16, t *Taken, err error) []func(error) {
	waiting := t.waiting
	t.waiting, t.stored = nil, true
	if err != nil && in.byID[id] == t {
		in.remove(id)
	}
	return waiting
}

// Release takes a PUBREL. It returns nil for a packet id that is not known.
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

// All are the messages, in no order.
func (in *Inbound) All() iter.Seq2[uint16, *Taken] {
	return func(yield func(uint16, *Taken) bool) {
		for id, t := range in.byID {
			if !yield(id, t) {
				return
			}
		}
	}
}
