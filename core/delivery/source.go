package delivery

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// source is what the readers of one filter read or, for point-to-point messages, the readers of one client id. It exists while it has
// readers.
type source struct {
	hub    *Hub
	filter string
	client string // set instead of filter for point-to-point
	queue  string
	root   bool      // the filter's first level is a wildcard
	tails  []tailKey // held while the source exists; guarded by Hub.mu

	refs   int  // readers, and readers being opened; guarded by Hub.mu
	closed bool // guarded by Hub.mu

	mu     sync.Mutex
	live   tailView
	loose  tailView
	queues map[store.QueueRef]*queueView
}

// accepts reports whether a record is for this source. Names of queues can collide; the record's own topic cannot. Records from a tail were
// matched by the hub. Records read from the store are checked once, when they enter a window or a reader.
func (s *source) accepts(rec *store.Record) bool {
	if s.filter == "" {
		target, ok := topic.P2PTarget(rec.Topic)
		return ok && target == s.client
	}
	return matches(s.filter, rec)
}

// matches reports whether a record's own topic matches a filter.
func matches(filter string, rec *store.Record) bool {
	if _, p2p := topic.P2PTarget(rec.Topic); p2p {
		return false
	}
	return topic.Match(filter, rec.Topic) && topic.ValidateName(rec.Topic) == nil
}

// feed takes a record that matches the source's filter from a tail.
func (s *source) feed(from origin, rec *store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.queueOf(from.topic)
	offset, indexed := rec.Offset(queue)
	if s.filter == "" && indexed {
		from = origin{partition: store.Partition{Broker: rec.Position.Broker}, queue: s.queue, offset: offset}
	}
	ref := store.QueueRef{Queue: queue, Broker: rec.Position.Broker}
	if s.live.used() {
		s.live.add(s.hub, entry{rec: rec, offset: -1, from: from})
	}
	switch {
	case indexed:
		if v := s.queues[ref]; v != nil {
			v.add(rec, offset)
		}
		if rec.Retain && s.loose.used() {
			s.loose.add(s.hub, entry{rec: rec, offset: -1, from: from, late: true})
		}
	case rec.Partial && len(s.queues) > 0:
		// The queue's entry, if there is one, is on another record, which no tail brings.
		if v := s.queues[ref]; v != nil {
			v.lookForFollowUp(rec.ID)
		}
	case s.loose.used():
		s.loose.add(s.hub, entry{rec: rec, offset: -1, from: from})
	}
}

// queueOf names the source's queue for records of one of the store's topics.
func (s *source) queueOf(name string) string {
	if s.root && s.hub.store.Limits().SingleFeeder {
		return topic.RootQueue(name, s.queue)
	}
	return s.queue
}

// lacksQueue reports whether a record that matches the source is in none of its queues. name is the record's topic in the store.
func (s *source) lacksQueue(name string, rec *store.Record) bool {
	_, indexed := rec.Offset(s.queueOf(name))
	return !indexed && !rec.Partial
}
