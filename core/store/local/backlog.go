package local

// backlog holds the appends that wait once more of them wait than leave at a time: those of each publisher in order, and the publishers of
// each identity in turn. Adding an append and taking one cost the same however many wait.
type backlog struct {
	lines map[string]*line   // by publisher
	from  map[string]*sender // by identity
	turn  []*sender          // those with lines; the first is next
	// heavyLines and heavySenders count those that wait with much, see heavySender and heavyIdentity; lightLines those with little.
	heavyLines, heavySenders, lightLines int
}

// sender is an identity with appends in the backlog.
type sender struct {
	name  string
	bytes int
	// light are lines with little, heavy those that had more than that since they began. A line of light that has grown is in heavy as
	// well, and is skipped. In both, the first is next.
	light, heavy []*line
}

// line is a publisher with appends in the backlog.
type line struct {
	publisher string
	of        *sender
	ops       []*appendOp
	bytes     int
	isHeavy   bool
	credit    int // bytes that the line may take in its turn
}

func (b *backlog) empty() bool { return len(b.turn) == 0 }

// heavy reports whether a publisher, or the publishers of an identity, wait with much.
func (b *backlog) heavy() bool { return b.heavyLines > 0 || b.heavySenders > 0 }

// add adds an append.
func (b *backlog) add(op *appendOp) {
	if b.lines == nil {
		b.lines, b.from = make(map[string]*line), make(map[string]*sender)
	}
	l := b.lines[op.msg.Publisher]
	if l == nil {
		s := b.from[op.from]
		if s == nil {
			s = &sender{name: op.from}
			b.from[s.name], b.turn = s, append(b.turn, s)
		}
		l = &line{publisher: op.msg.Publisher, of: s}
		b.lines[l.publisher], s.light = l, append(s.light, l)
		b.lightLines++
	}
	l.ops = append(l.ops, op)
	b.count(l, op.size)
	if !l.isHeavy && l.bytes > shareStep {
		l.isHeavy = true
		l.of.heavy = append(l.of.heavy, l)
		b.lightLines--
	}
}

// count adds bytes to a line, which may be negative.
func (b *backlog) count(l *line, bytes int) {
	crosses := func(before, limit int) int {
		switch after := before + bytes; {
		case before <= limit && after > limit:
			return 1
		case before > limit && after <= limit:
			return -1
		default:
			return 0
		}
	}
	b.heavyLines += crosses(l.bytes, heavySender)
	b.heavySenders += crosses(l.of.bytes, heavyIdentity)
	l.bytes += bytes
	l.of.bytes += bytes
}

// move moves the first append of a line to out.
func (b *backlog) move(l *line, out []*appendOp) []*appendOp {
	op := l.ops[0]
	l.ops[0] = nil
	l.ops = l.ops[1:]
	b.count(l, -op.size)
	if len(l.ops) == 0 {
		delete(b.lines, l.publisher)
		if !l.isHeavy {
			b.lightLines--
		}
	}
	return append(out, op)
}

// next returns the sender's next line, and the list whose first element it is; nil if there is none.
func (s *sender) next() (*line, *[]*line) {
	for len(s.light) > 0 {
		if l := s.light[0]; !l.isHeavy && len(l.ops) > 0 {
			return l, &s.light
		}
		s.light = drop(s.light)
	}
	for len(s.heavy) > 0 {
		if l := s.heavy[0]; len(l.ops) > 0 {
			return l, &s.heavy
		}
		s.heavy = drop(s.heavy)
	}
	return nil, nil
}

// drop removes the first element of a list.
func drop[T any](list []*T) []*T {
	list[0] = nil
	return list[1:]
}

// over ends the turn of the first sender. It is next again after all others, unless it has nothing left.
func (b *backlog) over() {
	s := b.turn[0]
	b.turn = drop(b.turn)
	if l, _ := s.next(); l != nil {
		b.turn = append(b.turn, s)
	} else {
		delete(b.from, s.name)
	}
}

// takeLight moves to out what is little: whole lines of up to shareStep bytes, and of each sender about heavySender bytes.
func (b *backlog) takeLight(out []*appendOp) []*appendOp {
	for range len(b.turn) {
		s := b.turn[0]
		for taken := 0; taken < heavySender && len(out) < commitOps; {
			l, list := s.next()
			if l == nil || list != &s.light {
				break
			}
			taken += l.bytes
			for len(l.ops) > 0 {
				out = b.move(l, out)
			}
		}
		b.over()
	}
	return out
}

// takeShares moves to out up to a number of bytes, or one append that is larger. The senders are served in turn, and their lines; in each
// turn a line may take shareStep bytes more. What does not fit any more is first in the next call, so nothing waits for ever.
func (b *backlog) takeShares(out []*appendOp, most int) []*appendOp {
	for taken := 0; len(b.turn) > 0; b.over() {
		l, list := b.turn[0].next()
		l.credit += shareStep
		for len(l.ops) > 0 && l.ops[0].size <= l.credit {
			size := l.ops[0].size
			if len(out) >= commitOps || taken > 0 && taken+size > most {
				return out
			}
			out, taken, l.credit = b.move(l, out), taken+size, l.credit-size
		}
		if *list = drop(*list); len(l.ops) > 0 {
			*list = append(*list, l)
		}
	}
	return out
}
