package delivery

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// source is where readers of one filter read; for point-to-point, where the readers of one client id read its own queue.
// It exists while it has readers.
type source struct {
	hub    *Hub
	filter string
	client string // set instead of filter for point-to-point
	queue  string
	tails  []tailKey // held while the source exists; guarded by Hub.mu

	mu     sync.Mutex
	refs   int // readers and attachments under way
	closed bool
	live   tailView
	loose  tailView
	queues map[string]*queueView // by broker
}

// accepts reports whether a record is for this source: names of queues can collide, the record's own topic cannot.
func (s *source) accepts(rec *store.Record) bool {
	if s.filter == "" {
		target, ok := topic.P2PTarget(rec.Topic)
		return ok && target == s.client
	}
	if _, p2p := topic.P2PTarget(rec.Topic); p2p {
		return false
	}
	return topic.Match(s.filter, rec.Topic) && topic.ValidateName(rec.Topic) == nil
}

// feed takes a record that matches the source's filter from a tail.
func (s *source) feed(from origin, rec *store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offset, indexed := rec.Offset(s.queue)
	if s.filter == "" && indexed {
		from = origin{partition: store.Partition{Broker: rec.Position.Broker}, queue: s.queue, offset: offset}
	}
	if s.live.used() {
		s.live.add(s.hub, entry{rec: rec, offset: -1, from: from})
	}
	switch {
	case indexed:
		if v := s.queues[rec.Position.Broker]; v != nil {
			v.add(rec, offset)
		}
	case rec.Partial && len(s.queues) > 0:
		// The entry, if there is one, is on another record that no tail brings.
		if v := s.queues[rec.Position.Broker]; v != nil {
			v.look()
		}
	case s.loose.used():
		s.loose.add(s.hub, entry{rec: rec, offset: -1, from: from})
	}
}

// lacksQueue reports whether a record matched the source and is in none of its queues.
func (s *source) lacksQueue(rec *store.Record) bool {
	_, indexed := rec.Offset(s.queue)
	return !indexed && !rec.Partial
}
