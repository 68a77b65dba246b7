package mqtt

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// ack is the answer to one PUBLISH, sent once the store has confirmed or refused the message.
type ack struct {
	kind packet.Type
	id   uint16
	code packet.Code
	done bool
	// reason says why the message was refused, for clients that want reason strings.
	reason string
	// span is that of the PUBLISH; nil if it is not traced.
	span *tracing.Span
}

// acks sends answers in the order of the packets that they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3], and bounds the messages that wait for the
// store.
type acks struct {
	mu    sync.Mutex
	room  sync.Cond
	queue []*ack
	// waiting counts messages of any QoS that the store has not confirmed.
	waiting int
	// unfinished counts the QoS 1 messages against the receive maximum, until PUBACK. open holds the packet ids of the QoS 2 messages that
	// count too, until PUBCOMP or a PUBREC with an error. A repetition of an open packet id is the same message (MQTT 5, 4.9).
	unfinished int
	open       map[uint16]struct{}
	ended      bool
}

// begin records a message. It blocks while bound messages wait for the store. It returns nil for QoS 0.
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

// admit counts a QoS 1 or 2 message against the receive maximum. It returns false if the client has exceeded it.
func (a *acks) admit(qos byte, id uint16, limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, repeated := a.open[id]; repeated && qos == 2 {
		return true
	}
	if a.unfinished+len(a.open) >= limit {
		return false
	}
	if qos < 2 {
		a.unfinished++
		return true
	}
	if a.open == nil {
		a.open = make(map[uint16]struct{})
	}
	a.open[id] = struct{}{}
	return true
}

// finish records that a QoS 2 message ended with PUBCOMP.
func (a *acks) finish(id uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.close(id)
}

// close stops counting a QoS 2 message against the receive maximum. Called with mu held.
func (a *acks) close(id uint16) {
	delete(a.open, id)
	if len(a.open) == 0 {
		a.open = nil // an idle connection has no map
	}
}

// end records the outcome of a message and calls send, in order, for each answer that may now be sent. k is nil for QoS 0.
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
		switch {
		case q.kind == packet.PUBACK:
			a.unfinished--
		case q.kind == packet.PUBREC && q.code.Failed():
			a.close(q.id)
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

// stop releases everyone who waits, because the connection is over.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for _, k := range a.queue { // their answers may never be sent
		k.span.End()
	}
	a.room.Broadcast()
}
