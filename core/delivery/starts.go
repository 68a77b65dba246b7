package delivery

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// A reader of a tail has a definite start, two offsets in each physical queue. The first is where the tail had come to: it is taken while
// no record is routed (Hub.routing), in the step in which the reader is attached, so each record is either before it, or routed to the
// reader. The second, at or after the first, is after all that this node knows to be acknowledged: what lies between is not delivered,
// because it was there before the reader was, but handed out as Item.Early where it has the retain flag. So of any position it can be
// said whether the reader hands it out.

// clockSkew is how far the clocks of brokers and gateways may be apart. Where offsets cannot tell, because a queue began anew or is new,
// a position that is older than this is before the start.
const clockSkew = time.Minute

// part is how far a tail has routed one physical queue. It is written by the goroutine of that queue, with Hub.routing held for
// reading, and read with it held for writing.
type part struct {
	next int64 // the offset after the last record that was routed
	time int64 // when that was stored
	// lap counts how often the queue began anew. It is read at any time.
	lap atomic.Int32
}

// pass notes that a record is being routed.
func (p *part) pass(offset, at int64) {
	if offset < p.next {
		p.lap.Add(1)
	}
	p.next, p.time = offset+1, at
}

// parts are the physical queues of one tail.
type parts struct {
	mu   sync.Mutex // guards the map
	of   map[store.Partition]*part
	last *marks // the newest snapshot; guarded by Hub.routing, held for writing
}

func (ps *parts) get(p store.Partition) *part {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	at := ps.of[p]
	if at == nil {
		if ps.of == nil {
			ps.of = make(map[store.Partition]*part, 4)
		}
		at = &part{}
		ps.of[p] = at
	}
	return at
}

// mark is the first offset of a start, in one physical queue.
type mark struct {
	next  int64 // the offset after the last record that was routed
	time  int64 // when that was stored, where one was routed
	lap   int32
	known bool // whether next counts
}

// marks are a start in all physical queues of a tail. They are not changed once made, and shared by readers that opened at the same
// place.
type marks struct {
	began int64 // when the tail began, in milliseconds since the epoch
	parts *parts
	at    map[store.Partition]mark
}

// before reports whether a position was routed before, or lies before the tail.
func (m *marks) before(p store.Position) bool {
	partition := store.Partition{Broker: p.Broker, ID: p.Partition}
	at, ok := m.at[partition]
	if !ok || !at.known {
		// The queue appeared later and is read from its beginning.
		return p.Time < m.began-clockSkew.Milliseconds()
	}
	if m.parts.get(partition).lap.Load() != at.lap {
		return false // the queue began anew after the start
	}
	return p.Offset < at.next || p.Time < at.time-clockSkew.Milliseconds()
}

// starts are a reader's start in the tails of its source.
type starts struct {
	name  string            // of the tail, where there is one
	marks *marks            // of that
	more  map[string]*marks // where there are several
}

func (s *starts) of(name string) *marks {
	if s.marks != nil && s.name == name {
		return s.marks
	}
	return s.more[name]
}

// skip makes a reader leave out the records of one physical queue before an offset. They were acknowledged before the reader opened, and
// the tail had not brought them yet.
type skip struct {
	topic     string
	partition store.Partition
	before    int64
}

// ends are what a store knows of the physical queues of a tail.
type ends struct {
	key  tailKey
	tail *tail
	list []end
}

type end struct {
	p          store.Partition
	begin, end int64
}

// ends asks the store for the ends of a source's tails.
func (h *Hub) ends(s *source) []ends {
	h.mu.Lock()
	all := make([]ends, 0, len(s.tails))
	for _, k := range s.tails {
		if t := h.tails[k]; t != nil && t.runs() {
			all = append(all, ends{key: k, tail: t})
		}
	}
	h.mu.Unlock()
	for i := range all {
		e := &all[i]
		e.tail.t.Ends(func(p store.Partition, begin, known int64) {
			if e.key.queue {
				known = begin // what the tail of a queue lags behind by is not left out
			}
			e.list = append(e.list, end{p, begin, known})
		})
	}
	return all
}

// runs reports whether the tail has started.
func (t *tail) runs() bool {
	select {
	case <-t.ready:
		return t.t != nil
	default:
		return false
	}
}

// begin notes where the tail begins.
func (t *tail) begin() {
	m := &marks{began: t.began.UnixMilli(), parts: &t.parts, at: make(map[store.Partition]mark)}
	t.t.Ends(func(p store.Partition, begin, _ int64) { m.at[p] = mark{next: begin, known: true} })
	t.first = m
}

// starts returns the start of a reader that is attached now, and what it is to leave out. Called with routing held for writing.
func (h *Hub) starts(all []ends) (*starts, []skip) {
	st := &starts{}
	var skips []skip
	for _, e := range all {
		m, late := e.tail.snapshot(e)
		skips = append(skips, late...)
		if len(all) == 1 {
			st.name, st.marks = e.key.name, m
			break
		}
		if st.more == nil {
			st.more = make(map[string]*marks, len(all))
		}
		st.more[e.key.name] = m
	}
	return st, skips
}

// snapshot makes the marks of a tail, or returns the last ones where nothing has changed.
func (t *tail) snapshot(e ends) (*marks, []skip) {
	t.parts.mu.Lock()
	defer t.parts.mu.Unlock()
	now := make(map[store.Partition]mark, len(e.list))
	var skips []skip
	for p, at := range t.parts.of {
		if at.next > 0 {
			now[p] = mark{at.next, at.time, at.lap.Load(), true}
		}
	}
	for _, end := range e.list {
		at, routed := now[end.p]
		if !routed {
			at.next = end.begin
		}
		if end.end > at.next {
			skips = append(skips, skip{e.key.name, end.p, end.end})
		}
		at.known = true
		now[end.p] = at
	}
	if last := t.parts.last; last != nil && same(last.at, now) {
		return last, skips
	}
	t.parts.last = &marks{began: t.began.UnixMilli(), parts: &t.parts, at: now}
	return t.parts.last, skips
}

func same(a, b map[store.Partition]mark) bool {
	if len(a) != len(b) {
		return false
	}
	for p, at := range a {
		if b[p] != at {
			return false
		}
	}
	return true
}

// before reports whether a position in a tail was routed before, or lies before the tail. first is where the tail itself began: a
// reader that was opened before the tail brings all of it.
func (s *starts) before(physical string, first *marks, p store.Position) bool {
	m := s.of(physical)
	if m == nil {
		m = first
	}
	return m != nil && m.before(p)
}

// began is where the tail of a store's topic began, nil where there is none.
func (h *Hub) began(physical string) *marks {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.tails[tailKey{name: physical}]; t != nil && t.runs() {
		return t.first
	}
	return nil
}

// Start is a moment in the tails of a filter.
type Start struct {
	hub *Hub
	at  *starts
}

// Start is where the reader began.
func (r *LiveReader) Start() Start { return Start{r.src.hub, r.start} }

// Now is the present moment in the reader's tails.
func (r *LiveReader) Now() Start {
	h := r.src.hub
	all := h.ends(r.src)
	h.routing.Lock()
	defer h.routing.Unlock()
	at, _ := h.starts(all)
	return Start{h, at}
}

// Missed reports whether a reader that began at the start does not hand out the record at a position, of a topic name that its filter
// matches, because it was routed before or lies before the tail.
func (s Start) Missed(name string, p store.Position) bool {
	physical, err := s.hub.catalog.Resolve(topic.First(name))
	if err != nil {
		return true // nobody brings it
	}
	return s.at.before(physical, s.hub.began(physical), p) || s.hub.foreign(physical, p)
}

// foreign reports whether a position is of another store, which no tail of this one brings: gateways with a store each can share
// metadata, and so the values that are retained.
func (h *Hub) foreign(physical string, p store.Position) bool {
	if !h.store.Limits().Exclusive {
		return false
	}
	h.mu.Lock()
	t := h.tails[tailKey{name: physical}]
	h.mu.Unlock()
	if t == nil || !t.runs() {
		return false
	}
	foreign := false
	t.t.Ends(func(at store.Partition, _, end int64) {
		foreign = foreign || at == store.Partition{Broker: p.Broker, ID: p.Partition} && p.Offset >= end
	})
	return foreign
}

// MissedP2P is Missed for a reader of what is sent to a client point to point, where the offsets are those of the record's entries.
func (s Start) MissedP2P(rec *store.Record) bool {
	offset, ok := rec.Offset(s.at.name)
	if !ok || s.at.marks == nil {
		return true
	}
	at := rec.Position
	at.Partition, at.Offset = 0, offset
	return s.at.marks.before(at)
}

// Missed calls f with the owner of each reader of a topic name that does not hand out the record at a position. f is called without
// locks.
func (h *Hub) Missed(name string, p store.Position, f func(Owner)) {
	physical, err := h.catalog.Resolve(topic.First(name))
	if err != nil {
		return
	}
	first, foreign := h.began(physical), h.foreign(physical, p)
	var owners []Owner
	h.filters.Match(name, func(s *source) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, v := range []*tailView{&s.live, &s.loose} {
			if !foreign && (v.newest == nil || !v.newest.before(physical, first, p)) {
				continue // then those that opened earlier hand it out, too
			}
			for _, r := range v.readers {
				if foreign || r.start.before(physical, first, p) {
					owners = append(owners, r.owner)
				}
			}
		}
	})
	for _, o := range owners {
		f(o)
	}
}

// leaves reports whether the reader leaves out a record because it lies before its start. Called with the source's mutex held.
func (r *LiveReader) leaves(from origin) bool {
	for i, s := range r.skips {
		if s.partition != from.partition || s.topic != from.topic {
			continue
		}
		if from.offset < s.before && from.queue == "" {
			return true
		}
		r.skips = slices.Delete(r.skips, i, i+1)
		break
	}
	return false
}

// Backlog is where the reader's window ends; any is false where it has handed out all of it.
func (r *LiveReader) Backlog() (mark int64, any bool) {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	end := r.view.end()
	return int64(end), !r.closed && (r.seq < end || len(r.missed) > 0)
}

// Reached reports whether the reader has handed out what is before a mark.
func (r *LiveReader) Reached(mark int64) bool {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	return r.closed || r.seq >= uint64(mark) && len(r.missed) == 0
}

// Backlog is where the queue ends as far as the tail has brought it; any is false where the reader has handed out all of it.
func (r *QueueReader) Backlog() (mark int64, any bool) {
	v := r.view
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	if !v.known {
		return -1, !r.closed
	}
	mark = v.next
	if n := len(v.pending); n > 0 {
		mark = v.pending[n-1].offset + 1
	}
	return mark, !r.closed && (!r.live || r.seq < v.end() || len(v.pending) > 0)
}

// Reached reports whether the reader has handed out what is before a mark. It is called by who reads.
func (r *QueueReader) Reached(mark int64) bool {
	v := r.view
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	return r.closed || r.live && r.offset >= mark
}
