package topic

import "slices"

// setSlice is the largest size at which a set is a slice: most filters have one or a few subscribers, and a map costs far more.
const setSlice = 16

// set is a set that is compact for few values and fast for many.
type set[V comparable] struct {
	few  []V
	many map[V]struct{} // replaces few beyond setSlice values
}

func (s *set[V]) add(v V) bool {
	if s.many != nil {
		if _, ok := s.many[v]; ok {
			return false
		}
		s.many[v] = struct{}{}
		return true
	}
	if slices.Contains(s.few, v) {
		return false
	}
	if len(s.few) < setSlice {
		s.few = append(s.few, v)
		return true
	}
	s.many = make(map[V]struct{}, 2*setSlice)
	for _, w := range s.few {
		s.many[w] = struct{}{}
	}
	s.many[v] = struct{}{}
	s.few = nil
	return true
}

func (s *set[V]) remove(v V) bool {
	if s.many != nil {
		if _, ok := s.many[v]; !ok {
			return false
		}
		delete(s.many, v)
		if len(s.many) <= setSlice/2 { // half (hysteresis), so that a set at the limit does not flip back and forth
			s.few = make([]V, 0, len(s.many))
			for w := range s.many {
				s.few = append(s.few, w)
			}
			s.many = nil
		}
		return true
	}
	for i, w := range s.few {
		if w != v {
			continue
		}
		last := len(s.few) - 1
		s.few[i] = s.few[last]
		var zero V
		s.few[last] = zero // release what it may point to
		s.few = s.few[:last]
		if last == 0 {
			s.few = nil
		}
		return true
	}
	return false
}

func (s *set[V]) each(fn func(V)) {
	for _, v := range s.few {
		fn(v)
	}
	for v := range s.many {
		fn(v)
	}
}

func (s *set[V]) len() int { return len(s.few) + len(s.many) }
