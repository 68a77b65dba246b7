package session

import (
	"github.com/lmqgate/lmqgate/core/store"
)

// inbound is a QoS 2 message of the client that was not released yet.
type inbound struct {
	stored  bool
	waiting []func(error)
}

// Publish stores a message of the client and then calls done exactly once, from any goroutine; done must not block. It may
// block while the store takes no more. A QoS 2 packet id that is not released yet is not stored again [MQTT-4.3.3-10].
func (s *Session) Publish(m *store.Message, id uint16, done func(error)) {
	if m.QoS < 2 {
		s.lanes.Publish(m, done)
		return
	}
	s.mu.Lock()
	if in := s.inbound[id]; in != nil {
		if !in.stored {
			in.waiting = append(in.waiting, done)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		done(nil)
		return
	}
	in := &inbound{}
	if s.inbound == nil {
		s.inbound = make(map[uint16]*inbound)
	}
	s.inbound[id] = in
	s.mu.Unlock()
	s.lanes.Publish(m, func(err error) {
		s.mu.Lock()
		waiting := in.waiting
		in.waiting, in.stored = nil, true
		if err != nil && s.inbound[id] == in {
			delete(s.inbound, id)
		}
		s.mu.Unlock()
		done(err)
		for _, f := range waiting {
			f(err)
		}
	})
}

// Release takes a PUBREL of the client. It returns false for a packet id that is not known.
func (s *Session) Release(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.inbound[id]
	delete(s.inbound, id)
	if len(s.inbound) == 0 {
		s.inbound = nil
	}
	return ok
}
