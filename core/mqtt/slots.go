package mqtt

// slots counts admitted clients against mqtt.max_connections. A client id has one slot, which its connections share: the one that is attached
// to the session, those that want to take it over, and those that were taken over and are not closed yet. The slot is free once all of them
// have left, whoever of them gets the session. So a client gets in by replacing its own connection even if no slot is free, and one that is
// refused takes nothing from the one that it wanted to replace.
//
// Slots are taken after authentication, so a stranger neither holds one nor learns from the answer whether a client is connected.
//
// Its methods are called with Server.mu held.
type slots struct {
	limit int              // 0: no limit
	of    map[string]*conn // a connection of each client id; seat.next leads to the others
}

// seat is a connection's part in the slot of its client id.
type seat struct {
	taken bool
	next  *conn // another connection in the slot
}

// take gives a connection a part in the slot of its client id, or a free slot. It returns false if there is neither.
func (s *slots) take(c *conn) bool {
	first := s.of[c.clientID]
	if first == nil && s.limit > 0 && len(s.of) >= s.limit {
		return false
	}
	if s.of == nil {
		s.of = make(map[string]*conn)
	}
	c.seat.taken, c.seat.next = true, first
	s.of[c.clientID] = c
	return true
}

// leave takes a connection out of its slot, if it has one.
func (s *slots) leave(c *conn) {
	if !c.seat.taken {
		return
	}
	first := s.of[c.clientID]
	if first == c {
		first = c.seat.next
	} else {
		for o := first; o != nil; o = o.seat.next {
			if o.seat.next == c {
				o.seat.next = c.seat.next
				break
			}
		}
	}
	c.seat.taken, c.seat.next = false, nil
	if first == nil {
		delete(s.of, c.clientID)
		return
	}
	s.of[c.clientID] = first
}
