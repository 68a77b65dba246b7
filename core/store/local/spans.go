package local

import "slices"

// spans is a set of offsets as ascending, non-adjacent spans. Acknowledgements come almost in order, so there are few spans however many
// offsets there are.
type spans []span

// span is the offsets from first, inclusive, to end, exclusive.
type span struct{ first, end int64 }

// find returns the index of the first span that ends after an offset.
func (s spans) find(at int64) int {
	i, _ := slices.BinarySearchFunc(s, at, func(p span, at int64) int {
		if p.end <= at {
			return -1
		}
		return 1
	})
	return i
}

// has reports whether an offset is in the set.
func (s spans) has(at int64) bool {
	i := s.find(at)
	return i < len(s) && s[i].first <= at
}

// skip returns the first offset, starting at at, that is not in the set.
func (s spans) skip(at int64) int64 {
	if i := s.find(at); i < len(s) && s[i].first <= at {
		return s[i].end
	}
	return at
}

// add adds a span to the set. It calls touched with the first offset of each span that is new, changed or gone.
func (s *spans) add(p span, touched func(first int64)) {
	if p.end <= p.first {
		return
	}
	i := s.find(p.first - 1) // a span that ends where p begins is extended
	j := i
	for j < len(*s) && (*s)[j].first <= p.end {
		q := (*s)[j]
		touched(q.first)
		p.first, p.end = min(p.first, q.first), max(p.end, q.end)
		j++
	}
	touched(p.first)
	*s = slices.Replace(*s, i, j, p)
}
