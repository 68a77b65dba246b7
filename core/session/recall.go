package session

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/session/record"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// recall reads the journal of a session that this node does not have in memory. A broker that does not answer is left out, for the
// sake of the client that waits: what is there may then be delivered or taken twice.
func (s *Session) recall(ctx context.Context, rec *meta.Session) {
	topics, journaled := record.QoS2Topics(rec)
	if !journaled {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	created := rec.Created.UnixMilli()
	st, err := s.newestState(ctx, created)
	if err != nil {
		s.m.log.Warn("reading the state of a session's QoS 2 messages failed; they may come twice", "client", s.id, "error", err)
	}
	held := make(map[uint16]heldMessage)
	for physical := range topics {
		if err := s.findHeld(ctx, physical, created, &st, held); err != nil {
			s.m.log.Warn("reading a session's QoS 2 messages failed; they may be stored twice", "client", s.id, "topic", physical, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = journal{topics: topics, stale: len(st.Released) > 0}
	for id, h := range held {
		if s.inbound == nil {
			s.inbound = make(map[uint16]*inbound)
		}
		s.inbound[id] = &inbound{stored: true, epoch: h.Epoch, counter: h.Counter}
	}
	for _, r := range st.Released {
		s.out.restore(&outMessage{id: r.ID, qos: 2, received: true, released: true, recalled: r.Record != "", recordID: r.Record})
	}
	for _, a := range st.Assigned {
		if s.journal.assigned == nil {
			s.journal.assigned, s.out.reserved = make(map[string]uint16), make(map[uint16]bool)
		}
		s.journal.assigned[a.Record] = a.ID
		s.out.reserved[a.ID] = true
	}
	for _, id := range st.Finished {
		if s.journal.finished == nil {
			s.journal.finished = make(map[string]*finished)
		}
		s.journal.finished[id] = &finished{}
	}
}

// recallTimeout is how long CONNECT waits for the journal.
const recallTimeout = 5 * time.Second

// newestState reads the last state of a session; a zero one if there is none.
func (s *Session) newestState(ctx context.Context, created int64) (sessionState, error) {
	var best sessionState
	refs, err := s.m.onBrokers(ctx, "", topic.SessionQueue(s.id))
	for _, ref := range refs {
		err2 := s.backwards(ctx, ref, func(rec *store.Record) bool {
			var st sessionState
			if rec.Topic != publish.SessionTopic || json.Unmarshal(rec.Payload, &st) != nil || st.Created != created {
				return true // anybody can name the queue
			}
			if st.Epoch > best.Epoch || st.Epoch == best.Epoch && st.Seq > best.Seq {
				best = st
			}
			return false
		})
		if err == nil {
			err = err2
		}
	}
	return best, err
}

// findHeld finds the messages from the client to a topic that are stored and not released.
func (s *Session) findHeld(ctx context.Context, physical string, created int64, st *sessionState, held map[uint16]heldMessage) error {
	refs, err := s.m.onBrokers(ctx, physical, topic.ExchangeQueue(physical, s.id))
	if err != nil {
		return err
	}
	listed := make(map[heldMessage]bool, len(st.Held))
	lowest := heldMessage{Epoch: st.Epoch, Counter: st.Counter + 1}
	for _, h := range st.Held {
		listed[h] = true
		if h.before(lowest) {
			lowest = h
		}
	}
	last := heldMessage{Epoch: st.Epoch, Counter: st.Counter}
	for _, ref := range refs {
		err2 := s.backwards(ctx, ref, func(rec *store.Record) bool {
			if at, err := s.m.o.Catalog.Physical(ctx, rec.Topic); err == nil && at != physical {
				return true // another topic's, which names the queue
			}
			h, of, ok := parseExchange(rec.Exchange)
			switch {
			case !ok, of != created:
				return ok // of an earlier session: so is all before it
			case h.before(lowest):
				return false
			case listed[h] || last.before(h):
				if newest, ok := held[h.ID]; !ok || newest.before(h) {
					held[h.ID] = h
				}
			}
			return true
		})
		if err == nil {
			err = err2
		}
	}
	return err
}

// before reports whether h was sent before g.
func (h heldMessage) before(g heldMessage) bool {
	return h.Epoch < g.Epoch || h.Epoch == g.Epoch && h.Counter < g.Counter
}

const (
	// backStep is how many records are read at a time on the way back through a queue, backMost how many at the most.
	backStep = 64
	backMost = 8192
)

// backwards calls f with the records of a queue, the newest first, until it returns false.
func (s *Session) backwards(ctx context.Context, ref store.QueueRef, f func(*store.Record) bool) error {
	b, err := s.m.o.Store.Bounds(ctx, ref)
	if err != nil {
		return err
	}
	for end := b.Max; end > b.Min && b.Max-end < backMost; {
		from := max(b.Min, end-backStep)
		var records []*store.Record
		for at := from; at < end; {
			batch, err := s.m.o.Store.Read(ctx, ref, at, int(end-at))
			if err != nil {
				return err
			}
			for i, rec := range batch.Records {
				if batch.Offsets[i] < end {
					records = append(records, rec)
				}
			}
			if batch.Next <= at {
				break
			}
			at = batch.Next
		}
		for _, rec := range slices.Backward(records) {
			if !f(rec) {
				return nil
			}
		}
		end = from
	}
	return nil
}
