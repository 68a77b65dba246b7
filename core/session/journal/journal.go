package journal

import (
	"maps"
	"strings"

	"github.com/lmqgate/lmqgate/core/session/flight"
)

// maxTopics bounds the topics of a journal. QoS 2 messages to further first-level topics are stored exactly once only while the node lives.
const maxTopics = 64

// Journal is what a session remembers of its QoS 2 messages besides those in flight. The zero value is the journal of a session without
// any.
type Journal struct {
	// topics are the store's topics, listed in the session's record, to which the session has sent QoS 2 messages; nil: the record does not
	// mention a journal.
	topics map[string]bool
	// firsts are the first-level topics covered by topics, as far as this node has met them.
	firsts map[string]bool
	// counter numbers the messages from the client on this connection.
	counter int64
	seq     int64
	// stale: the newest state names an exchange that is over.
	stale bool
	// assigned maps records that were not sent again yet to their packet ids, where the id was not derived from the record's id.
	assigned map[string]uint16
	// finished are records that the client has but the committed offsets have not passed yet. A record without marks has not come again
	// since the session was restored.
	finished map[string][]flight.Mark
}

// Recorded reports whether the session's record says that there is a journal and, unless physical is empty, that the journal covers this
// topic of the store.
func (j *Journal) Recorded(physical string) bool {
	return j.topics != nil && (physical == "" || j.topics[physical])
}

// SetRecorded sets the topics listed in the record.
func (j *Journal) SetRecorded(topics map[string]bool) {
	if j.topics == nil {
		j.topics = make(map[string]bool, len(topics))
	}
	maps.Copy(j.topics, topics)
}

// Covers reports whether the journal has the messages to a first-level topic.
func (j *Journal) Covers(first string) bool { return j.firsts[first] }

// Cover adds a first-level topic whose messages the journal has.
func (j *Journal) Cover(first string) {
	if j.firsts == nil {
		j.firsts = make(map[string]bool, 1)
	}
	j.firsts[strings.Clone(first)] = true // clone: the string may share memory with a payload
}

// Full reports whether the journal has room for no further topic.
func (j *Journal) Full() bool { return len(j.topics) >= maxTopics }

// Stale reports whether the newest state names an exchange that is over.
func (j *Journal) Stale() bool { return j.stale && j.topics != nil }

// Finished returns the number of records that the state names so that they are not sent again.
func (j *Journal) Finished() int { return len(j.finished) }

// Number numbers a message from the client.
func (j *Journal) Number(id uint16, epoch int64, t *flight.Taken) Held {
	j.counter++
	t.Epoch, t.Counter = epoch, j.counter
	return Held{id, epoch, j.counter}
}

// State returns the present state of a session that began at created, including the messages in flight.
func (j *Journal) State(created, epoch int64, in *flight.Inbound, out *flight.Window) State {
	j.seq++
	j.stale = false
	st := State{Created: created, Epoch: epoch, Seq: j.seq, Counter: j.counter}
	for id, t := range in.All() {
		if t.Epoch != 0 && !t.Doubted() { // the next node could not tell that it is doubted
			st.Held = append(st.Held, Held{id, t.Epoch, t.Counter})
		}
	}
	for _, m := range out.InOrder() {
		switch {
		case m.Received && !m.Noted:
			st.Released = append(st.Released, Sent{m.ID, m.RecordID})
		case m.Received, m.Noted:
			st.Released = append(st.Released, Sent{ID: m.ID})
		case m.Assigned:
			st.Assigned = append(st.Assigned, Sent{m.ID, m.RecordID})
		}
	}
	for record, id := range j.assigned {
		st.Assigned = append(st.Assigned, Sent{id, record})
	}
	for record, marks := range j.finished {
		if passed(marks) {
			delete(j.finished, record)
			continue
		}
		st.Finished = append(st.Finished, record)
	}
	return st
}

// passed reports whether every queue that brought a record is committed past it.
func passed(marks []flight.Mark) bool {
	for _, m := range marks {
		if !m.Passed() {
			return false
		}
	}
	return len(marks) > 0
}

// ChoosePacketID sets the packet id of a QoS 2 message, or leaves the choice to the window. It reports whether the message may be sent
// before a state is stored.
func (j *Journal) ChoosePacketID(m *flight.Message, out *flight.Window) bool {
	if m.RecordID == "" {
		m.Noted = true // not sent again after a crash
		return false
	}
	if id, ok := j.assigned[m.RecordID]; ok {
		delete(j.assigned, m.RecordID)
		out.Unreserve(id)
		m.ID, m.Assigned = id, true
		return true
	}
	if m.ID = PacketID(m.RecordID); out.Taken(m.ID) {
		m.ID, m.Assigned = 0, true
	}
	return !m.Assigned
}

// Finish records that the client has a message. It must be called before the progress of the message's queues moves on.
func (j *Journal) Finish(m *flight.Message) {
	if m.QoS < 2 {
		return
	}
	j.stale = true
	if m.Noted {
		return // not sent again
	}
	marks := m.Marks()
	if len(marks) == 0 && !m.Recalled {
		return // no queue brought it, so no queue brings it again
	}
	j.finish(m.RecordID, marks)
}

func (j *Journal) finish(record string, marks []flight.Mark) {
	if j.finished == nil {
		j.finished = make(map[string][]flight.Mark)
	}
	j.finished[record] = marks
}

// Has reports whether the client already has a record that is brought again after a crash. queue is the progress of the queue that brings
// the record; nil if no queue does.
func (j *Journal) Has(record string, queue *flight.Progress, next int64) bool {
	marks, ok := j.finished[record]
	if ok && queue != nil {
		j.finished[record] = append(marks, flight.Mark{Progress: queue, Next: next})
	}
	return ok
}

// GiveUp keeps the packet id of a message that is no longer in flight and is sent again when its record comes again.
func (j *Journal) GiveUp(m *flight.Message, out *flight.Window) {
	if !m.Assigned || m.Unsent {
		return
	}
	if j.assigned == nil {
		j.assigned = make(map[string]uint16)
	}
	j.assigned[m.RecordID] = m.ID
	out.Reserve(m.ID)
}

// Restore rebuilds the journal of a session from its records, and puts the messages that it names in flight.
func (j *Journal) Restore(topics map[string]bool, st *State, held map[uint16]Stored, in *flight.Inbound, out *flight.Window) {
	*j = Journal{topics: topics, stale: len(st.Released) > 0}
	for id, h := range held {
		in.Restore(id, h.Epoch, h.Counter, h.Retained)
	}
	for _, r := range st.Released {
		out.Add(&flight.Message{ID: r.ID, QoS: 2, Received: true, Released: true, Recalled: r.Record != "", RecordID: r.Record})
	}
	for _, a := range st.Assigned {
		if j.assigned == nil {
			j.assigned = make(map[string]uint16)
		}
		j.assigned[a.Record] = a.ID
		out.Reserve(a.ID)
	}
	for _, record := range st.Finished {
		j.finish(record, nil)
	}
}
