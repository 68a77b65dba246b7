package mqtt

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/packet"
)

// ack is the answer to one PUBLISH, once the store has spoken.
type ack struct {
	kind packet.Type
	id   uint16
	code packet.Code
	done bool
	// reason says why the message was refused, for those who want to know.
	reason string
}

// acks puts answers in the order of the packets that they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3], and bounds the messages that
// wait for the store.
type acks struct {
	mu    sync.Mutex
	room  sync.Cond
	queue []*ack
	// waiting counts messages of any QoS that the store has not confirmed.
	waiting int
	// unfinished counts QoS 1 and 2 messages towards the receive maximum: until PUBACK, PUBCOMP or a PUBREC that refuses.
	unfinished int
	ended      bool
}

// begin notes a message. It blocks while bound messages wait for the store. It returns nil for QoS 0.
func (a *acks) begin(qos byte, id uint16, bound int) *ack {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.waiting >= bound && !a.ended {
		a.room.Wait()
	}
	a.waiting++
	if qos == 0 {
		return nil
	}
	k := &ack{kind: packet.PUBACK, id: id}
	if qos == 2 {
		k.kind = packet.PUBREC
	}
	a.queue = append(a.queue, k)
	return k
}

// admit counts a QoS 1 or 2 message towards the receive maximum; it returns false when the client has sent too many.
func (a *acks) admit(limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unfinished >= limit {
		return false
	}
	a.unfinished++
	return true
}

// finish notes that a QoS 2 message ended with PUBCOMP.
func (a *acks) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unfinished > 0 {
		a.unfinished--
	}
}

// end notes the outcome of a message and calls send for each answer that is due, in order. k is nil for QoS 0.
func (a *acks) end(k *ack, code packet.Code, send func(*ack)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
	a.room.Signal()
	if k == nil {
		return
	}
	k.done, k.code = true, code
	n := 0
	for n < len(a.queue) && a.queue[n].done {
		q := a.queue[n]
		if q.kind == packet.PUBACK || q.code >= packet.UnspecifiedError {
			a.unfinished--
		}
		send(q)
		a.queue[n] = nil
		n++
	}
	if n == len(a.queue) {
		a.queue = nil
	} else {
		a.queue = a.queue[n:]
	}
}

// stop lets everyone who waits go on; the connection is over.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.room.Broadcast()
}
