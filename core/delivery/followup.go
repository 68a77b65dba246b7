package delivery

import (
	"context"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// If a message is for more queues than fit into one record, its record is partial: it carries the entries of some queues, and follow-up
// records, which no tail brings, carry those of the others. A view whose queue is not in a partial record looks for a follow-up. One client
// can have thousands of filters that match one message. So few views look at a time. What one of them reads is handed to all views whose
// queues it is in, and those need not look any more.

// followUpsMost bounds the views that look for follow-ups concurrently.
const followUpsMost = 4

// lookForFollowUp schedules a read of the store for the record that carries the queue's entry of a message. Called with the source's mutex
// held.
func (v *queueView) lookForFollowUp(id string) {
	if len(v.readers) == 0 {
		return
	}
	v.awaits = id
	if v.filling {
		v.asked = v.asked || v.reading // the read under way may not find it
		return
	}
	v.filling = true
	h := v.src.hub
	h.after(gapDelay, func(ctx context.Context) {
		h.followUps.run(v, func(v *queueView) { v.fillUnlessShared(ctx) })
	})
}

// fillUnlessShared reads the queue, unless another view has handed over what this one looks for.
func (v *queueView) fillUnlessShared(ctx context.Context) {
	v.src.mu.Lock()
	if v.awaits == "" && !v.asked && len(v.pending) == 0 {
		v.filling = false
		v.src.mu.Unlock()
		return
	}
	v.src.mu.Unlock()
	v.fill(ctx)
}

// share hands a record that a view has read from the store to the views of its other queues. Called without locks.
func (h *Hub) share(rec *store.Record, by *queueView) {
	if _, p2p := topic.P2PTarget(rec.Topic); p2p || len(rec.Entries) < 2 || topic.ValidateName(rec.Topic) != nil {
		return
	}
	offsets := make(map[string]int64, len(rec.Entries))
	for _, e := range rec.Entries {
		offsets[e.Queue] = e.Offset
	}
	h.filters.Match(rec.Topic, func(s *source) {
		offset, ok := offsets[s.queue]
		if !ok {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if v := s.queues[store.QueueRef{Queue: s.queue, Broker: rec.Position.Broker}]; v != nil && v != by {
			v.offer(rec, offset)
		}
	})
}

// offer takes a record that another view has read, and that matches the filter, if the window does not have it yet. Called with the
// source's mutex held.
func (v *queueView) offer(rec *store.Record, offset int64) {
	if len(v.readers) == 0 || !v.known || rec.Cuts != v.cuts || v.shift > 0 {
		return
	}
	if v.awaits == rec.ID {
		v.awaits = ""
	}
	switch e := (entry{rec: rec, offset: offset}); {
	case offset == v.next:
		v.fillIn(e)
	case offset > v.next:
		v.note(e)
		v.postpone(e)
	}
	v.wake()
}
