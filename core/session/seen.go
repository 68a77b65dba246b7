package session

// seenSet remembers records that reach the session through several of its feeds, until each has brought them. It is used for
// overlapping subscriptions only, and bounded: what falls out can be delivered twice.
type seenSet struct {
	left  map[string]int
	order []string
}

const maxSeen = 4096

// again reports whether a record was delivered already.
func (s *seenSet) again(id string) bool {
	n, ok := s.left[id]
	if !ok {
		return false
	}
	if n <= 1 {
		delete(s.left, id)
	} else {
		s.left[id] = n - 1
	}
	return true
}

// expect notes that a record was delivered and will come n more times.
func (s *seenSet) expect(id string, n int) {
	if n <= 0 {
		return
	}
	if s.left == nil {
		s.left = make(map[string]int)
	}
	s.left[id] = n
	s.order = append(s.order, id)
	if len(s.order) > maxSeen {
		for _, old := range s.order[:maxSeen/2] {
			delete(s.left, old)
		}
		s.order = append([]string(nil), s.order[maxSeen/2:]...)
	}
}
