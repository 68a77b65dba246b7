package mqtt

// slots counts admitted clients against mqtt.max_connections. A client has one slot: a connection that takes over another of the same
// client id takes its slot as well, so it gets in even if no slot is free. Slots are taken after authentication, so a stranger neither
// holds one nor learns from the answer whether a client is connected.
//
// Its methods are called with Server.mu held.
type slots struct {
	limit int // 0: no limit
	taken int
	of    map[string]*conn // holders of the slots, by client id
}

// take gives a connection the slot of its client id, or a free one. It returns false if there is neither.
func (s *slots) take(c *conn) bool {
	if old := s.of[c.clientID]; old != nil {
		old.slot, c.slot, c.replaces = false, true, old
		s.of[c.clientID] = c
		return true
	}
	if s.limit > 0 && s.taken >= s.limit {
		return false
	}
	if s.of == nil {
		s.of = make(map[string]*conn)
	}
	s.taken++
	s.of[c.clientID] = c
	c.slot = true
	return true
}

// attached records that a connection has its session, which completes a takeover.
func (s *slots) attached(c *conn) { c.replaces = nil }

// leave gives a connection's slot back. If the connection took over another one's slot, the takeover failed, and the other connection is
// still open, that one gets the slot.
func (s *slots) leave(c *conn, open func(*conn) bool) {
	old := c.replaces
	c.replaces = nil
	if !c.slot {
		return
	}
	c.slot = false
	if old != nil && open(old) {
		old.slot = true
		s.of[c.clientID] = old
		return
	}
	delete(s.of, c.clientID)
	s.taken--
}
