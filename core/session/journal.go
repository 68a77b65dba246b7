package session

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
)

// journal keeps in the store what a durable session must know of its QoS 2 messages when its node dies, so that each is
// delivered once, and taken once, by whichever node has the session next. Guarded by Session.mu.
//
// Taken from the client: each message is stored with an entry in the session's exchange queue, in the same append. Nothing more is
// needed for PUBREC. PUBCOMP leaves once a state is stored that no longer names the message as held.
//
// Sent to the client: a record always gets the same packet id, which follows from the record's id or, where that one is taken, is in
// a stored state before the message is sent. So a client that has the record already knows it again, whether or not the session
// remembers having sent it. PUBREL leaves once a state is stored that says so, and that keeps the record from being sent
// again until the queue's committed offset is past it. Messages that are not sent again after a crash (retained messages, those of
// shared groups) are in a stored state before they are sent, so that the client is made to forget their packet ids.
//
// States are written one at a time; what comes meanwhile shares the next one.
type journal struct {
	// topics are the store's topics that the session has sent QoS 2 messages to, as its record says; nil: there is no journal.
	topics map[string]bool
	// firsts are the first levels of topic names that topics cover, as far as this node has met them.
	firsts map[string]bool
	// counter numbers the messages from the client on this connection.
	counter int64
	seq     int64
	writing bool
	waiting []func(error)
	// stale: the newest state names something that is over.
	stale bool
	// assigned are packet ids, by record, that are not the records' own, of records that were not sent again yet.
	assigned map[string]uint16
	// finished are records that the client has, and that the committed offsets are not past yet.
	finished map[string]*finished
}

// finished is a record that must not be sent again.
type finished struct {
	marks []mark // empty: not met since the session was restored
}

type mark struct {
	f    *feed
	next int64
}

// sessionState is what one record of the session's queue says. Of several the one with the highest epoch and sequence counts.
type sessionState struct {
	Created int64 `json:"created"` // of the session: an earlier one of the client id is not meant
	Epoch   int64 `json:"epoch"`
	Seq     int64 `json:"seq"`
	// Counter: messages from the client up to this one, and those of earlier epochs, are released unless they are in Held.
	Counter int64         `json:"counter"`
	Held    []heldMessage `json:"held,omitempty"`
	// Assigned are records whose packet id is another than their own.
	Assigned []releasedMessage `json:"assigned,omitempty"`
	// Released are messages whose PUBREL may have been sent; Finished records that the client has besides.
	Released []releasedMessage `json:"released,omitempty"`
	Finished []string          `json:"finished,omitempty"`
}

type heldMessage struct {
	ID      uint16 `json:"id"`
	Epoch   int64  `json:"epoch"`
	Counter int64  `json:"counter"`
}

type releasedMessage struct {
	ID     uint16 `json:"id"`
	Record string `json:"record,omitempty"`
}

// maxJournalTopics bounds the topics of a session's journal. QoS 2 messages to further first-level topics are taken once while the node lives.
const maxJournalTopics = 64

// keepsJournal makes the session's record say that there is a journal, and that messages to a topic of the store are in it.
func (s *Session) keepsJournal(ctx context.Context, physical string) error {
	s.mu.Lock()
	if !s.durable() || s.journal.topics != nil && (physical == "" || s.journal.topics[physical]) {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	var topics map[string]bool
	s.rec.Update(func(r *meta.Session) { topics = record.AddQoS2Topic(r, physical) })
	if err := s.save(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.topics == nil {
		s.journal.topics = make(map[string]bool, 1)
	}
	maps.Copy(s.journal.topics, topics)
	return nil
}

// note has the session's present state stored, and calls done then. Called with mu held; done is called without.
func (s *Session) note(done func(error)) {
	j := &s.journal
	j.waiting = append(j.waiting, done)
	if !j.writing {
		j.writing = true
		s.m.run(s.writeJournal)
	}
}

// manyFinished is from how many finished records on progress is committed before a state is stored, which then leaves them out.
const manyFinished = 64

func (s *Session) writeJournal() {
	for {
		s.mu.Lock()
		many := len(s.journal.finished) > manyFinished
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.m.ctx, fetchTimeout)
		err := s.keepsJournal(ctx, "")
		if err == nil && many {
			_ = s.commitOffsets(ctx) // tried again by the commit loop; the state is larger meanwhile
		}
		cancel()
		s.mu.Lock()
		waiting := s.journal.waiting
		s.journal.waiting = nil
		if len(waiting) == 0 {
			s.journal.writing = false
			s.mu.Unlock()
			return
		}
		state := s.state()
		s.mu.Unlock()
		if err == nil {
			err = s.m.o.Publisher.SaveSession(s.id, state)
		}
		if err != nil {
			s.m.log.Warn("storing the state of a session's QoS 2 messages failed; closing its connection", "client", s.id, "error", err)
			s.mu.Lock()
			if s.conn != nil {
				s.conn.Close(packet.ImplementationSpecificError, "the state of QoS 2 messages could not be stored")
			}
			s.mu.Unlock()
		}
		for _, done := range waiting {
			done(err)
		}
	}
}

// state encodes the present state. Called with mu held.
func (s *Session) state() []byte {
	j := &s.journal
	j.seq++
	j.stale = false
	st := sessionState{Created: s.created.UnixMilli(), Epoch: s.epoch, Seq: j.seq, Counter: j.counter}
	for id, in := range s.inbound {
		if in.epoch != 0 {
			st.Held = append(st.Held, heldMessage{id, in.epoch, in.counter})
		}
	}
	for _, d := range s.out.inOrder() {
		switch {
		case d.received && !d.noted:
			st.Released = append(st.Released, releasedMessage{d.id, d.recordID})
		case d.received, d.noted:
			st.Released = append(st.Released, releasedMessage{ID: d.id})
		case d.assigned:
			st.Assigned = append(st.Assigned, releasedMessage{d.id, d.recordID})
		}
	}
	for record, id := range j.assigned {
		st.Assigned = append(st.Assigned, releasedMessage{id, record})
	}
	for id, fin := range j.finished {
		if fin.over() {
			delete(j.finished, id)
			continue
		}
		st.Finished = append(st.Finished, id)
	}
	b, _ := json.Marshal(&st) // numbers and strings always encode
	return b
}

// choosePacketID sets the packet id of a QoS 2 message, or leaves the choice to outbound; it reports whether the message may be sent
// before a state is stored. Called with mu held.
func (s *Session) choosePacketID(d *outMessage) bool {
	if d.recordID == "" {
		d.noted = true // it is not sent again after a crash
		return false
	}
	if id, ok := s.journal.assigned[d.recordID]; ok {
		delete(s.journal.assigned, d.recordID)
		delete(s.out.reserved, id)
		d.id, d.assigned = id, true
		return true
	}
	if d.id = packetID(d.recordID); s.out.taken(d.id) {
		d.id, d.assigned = 0, true
	}
	return !d.assigned
}

// over reports whether every queue that brought the record is committed past it.
func (fin *finished) over() bool {
	for _, m := range fin.marks {
		if !m.f.closed && m.f.committed < m.next {
			return false
		}
	}
	return len(fin.marks) > 0
}

// finish notes that the client has a record, before the feeds move on. Called with mu held.
func (s *Session) finish(d *outMessage) {
	if !s.durable() || d.qos < 2 {
		return
	}
	s.journal.stale = true
	if d.noted {
		return // it is not sent again
	}
	fin := &finished{}
	for _, f := range d.feeds {
		for _, t := range f.tracks {
			if t.d == d {
				fin.marks = append(fin.marks, mark{f, t.next})
			}
		}
	}
	if len(fin.marks) == 0 && !d.recalled {
		return // no queue brought it, so none brings it again
	}
	if s.journal.finished == nil {
		s.journal.finished = make(map[string]*finished)
	}
	s.journal.finished[d.recordID] = fin
}

// hasFinished reports whether the client has a record that a feed brings again after a crash. Called with mu held.
func (s *Session) hasFinished(f *feed, rec *store.Record, next int64) bool {
	fin := s.journal.finished[rec.ID]
	if fin == nil {
		return false
	}
	if f.queue != nil {
		fin.marks = append(fin.marks, mark{f, next})
	}
	return true
}

// settleJournal stores a state if the newest one names what is over, so that whoever resumes the session has little to clear up.
// It goes before each commit of progress, the last one when the client leaves included.
func (s *Session) settleJournal(ctx context.Context) {
	s.mu.Lock()
	if !s.journal.stale || s.journal.topics == nil {
		s.mu.Unlock()
		return
	}
	done := make(chan struct{})
	s.note(func(error) { close(done) }) // where it fails the client is asked again for what it has
	s.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	case <-s.m.ctx.Done():
	}
}

// exchange names a message of the client for its record.
func exchange(created int64, h heldMessage) string {
	return fmt.Sprintf("%d-%d-%d-%d", created, h.Epoch, h.Counter, h.ID)
}

func parseExchange(text string) (h heldMessage, created int64, ok bool) {
	n, err := fmt.Sscanf(text, "%d-%d-%d-%d", &created, &h.Epoch, &h.Counter, &h.ID)
	return h, created, err == nil && n == 4
}
