package flight

// Seen remembers records that reach the session through several of its feeds, until each feed has brought them. It is used for overlapping
// subscriptions only. It is bounded: a record that falls out can be delivered twice.
type Seen struct {
	left  map[string]int
	order []string
}

const maxSeen = 4096

// Again reports whether a record was delivered already.
func (s *Seen) Again(recordID string) bool {
	n, ok := s.left[recordID]
	if !ok {
		return false
	}
	if n <= 1 {
		delete(s.left, recordID)
	} else {
		s.left[recordID] = n - 1
	}
	return true
}

// Expect notes that a record was delivered and will come n more times.
func (s *Seen) Expect(recordID string, n int) {
	if n <= 0 {
		return
	}
	if s.left == nil {
		s.left = make(map[string]int)
	}
	s.left[recordID] = n
	s.order = append(s.order, recordID)
	if len(s.order) > maxSeen {
		for _, old := range s.order[:maxSeen/2] {
			delete(s.left, old)
		}
		s.order = append([]string(nil), s.order[maxSeen/2:]...)
	}
}
