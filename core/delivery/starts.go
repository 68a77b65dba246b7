package delivery

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// A reader of a tail has a definite start: two offsets in each physical queue.
//
// The first offset is how far the tail had come. It is taken while no record is routed (Hub.routing), in the same step that attaches the
// reader, so each record either lies before it or is routed to the reader. The second offset, at or after the first, lies behind every
// record that this node knows to be acknowledged. Records between the two existed before the reader did, so they are not delivered, but
// handed out as Item.Early if they have the retain flag.
//
// So for any position it is known whether the reader hands it out.

// clockSkew is how far the clocks of brokers and gateways may differ. If offsets cannot tell, because a queue began again or is new, a
// position older than the start by more than this lies before the start.
const clockSkew = time.Minute

// part is how far a tail has routed one physical queue. The goroutine of that queue writes it, with Hub.routing held for reading. Others
// read it with Hub.routing held for writing.
type part struct {
	next int64 // the offset after the last routed record
	time int64 // when the last routed record was stored
	// lap counts how often the queue began again. It may be read at any time.
	lap atomic.Int32
}

// pass records that a record is being routed.
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
	last *marks // the latest snapshot; guarded by Hub.routing held for writing
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

// mark is the first offset of a start in one physical queue.
type mark struct {
	next  int64 // the offset after the last routed record
	time  int64 // when the last routed record was stored, if there was one
	lap   int32
	known bool // next is valid
}

// marks are a start in all physical queues of a tail. They never change once made, and readers that opened at the same place share them.
type marks struct {
	began int64 // when the tail began, in milliseconds since the epoch
	parts *parts
	at    map[store.Partition]mark
}

// before reports whether a position was routed before the start, or lies before the tail.
func (m *marks) before(p store.Position) bool {
	partition := store.Partition{Broker: p.Broker, ID: p.Partition}
	at, ok := m.at[partition]
	if !ok || !at.known {
		// The queue appeared later and is read from its beginning.
		return p.Time < m.began-clockSkew.Milliseconds()
	}
	if m.parts.get(partition).lap.Load() != at.lap {
		return false // the queue began again after the start
	}
	return p.Offset < at.next || p.Time < at.time-clockSkew.Milliseconds()
}

// starts are a reader's start in all tails of its source.
type starts struct {
	name  string            // of the tail, if there is only one
	marks *marks            // of that tail
	more  map[string]*marks // by tail, if there are several
}

func (s *starts) of(name string) *marks {
	if s.marks != nil && s.name == name {
		return s.marks
	}
	return s.more[name]
}

// skip makes a reader leave out the records of one physical queue before an offset. They were acknowledged before the reader opened, but
// the tail had not brought them yet.
type skip struct {
	topic     string
	partition store.Partition
	before    int64
}

// ends are what the store knows about the ends of a tail's physical queues.
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
				known = begin // records that the tail of a queue lags behind are not left out
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

// begin records where the tail begins.
func (t *tail) begin() {
	m := &marks{began: t.began.UnixMilli(), parts: &t.parts, at: make(map[store.Partition]mark)}
	t.t.Ends(func(p store.Partition, begin, _ int64) { m.at[p] = mark{next: begin, known: true} })
	t.first = m
}

// starts returns the start of a reader that is attached now, and what the reader has to leave out. Called with routing held for writing.
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

// snapshot makes the marks of a tail, or returns the previous ones if nothing has changed.
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

// before reports whether a position in a tail was routed before the start, or lies before the tail. first is where the tail itself began: a
// reader opened before the tail hands out all of the tail.
func (s *starts) before(physical string, first *marks, p store.Position) bool {
	m := s.of(physical)
	if m == nil {
		m = first
	}
	return m != nil && m.before(p)
}

// began returns where the tail of one of the store's topics began; nil if there is no tail.
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

// Start returns the moment at which the reader began.
func (r *LiveReader) Start() Start { return Start{r.src.hub, r.start} }

// Now returns the present moment in the reader's tails.
func (r *LiveReader) Now() Start {
	h := r.src.hub
	all := h.ends(r.src)
	h.routing.Lock()
	defer h.routing.Unlock()
	at, _ := h.starts(all)
	return Start{h, at}
}

// Missed reports whether a reader with this start does not hand out the record at a position, because the record was routed before the
// start or lies before the tail. name is the record's topic name, which must match the reader's filter.
func (s Start) Missed(name string, p store.Position) bool {
	physical, err := s.hub.catalog.Resolve(topic.First(name))
	if err != nil {
		return true // no reader brings it
	}
	return s.at.before(physical, s.hub.began(physical), p) || s.hub.foreign(physical, p)
}

// foreign reports whether a position belongs to another store, so that no tail of this store brings it. Gateways that each have their own
// store can share metadata, and with it retained values.
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

// MissedP2P is Missed for a reader of point-to-point messages. It uses the record's offset in the bucket or queue that the reader's tail
// reads.
func (s Start) MissedP2P(rec *store.Record) bool {
	offset, ok := rec.Offset(s.at.name)
	if !ok || s.at.marks == nil {
		return true
	}
	at := rec.Position
	at.Partition, at.Offset = 0, offset
	return s.at.marks.before(at)
}

// Missed calls f with the owner of each reader that matches a topic name and does not hand out the record at a position. f is called
// without locks held.
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
				continue // readers that opened earlier hand it out too
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

// leaves reports whether the reader leaves out a record because the record lies before its start. Called with the source's mutex held.
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

// Backlog returns the end of the reader's window; any is false if the reader has handed out everything.
func (r *LiveReader) Backlog() (mark int64, any bool) {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	end := r.view.end()
	return int64(end), !r.closed && (r.seq < end || len(r.missed) > 0)
}

// Reached reports whether the reader has handed out everything before a mark.
func (r *LiveReader) Reached(mark int64) bool { return r.Left(mark) == 0 }

// Left returns how many records before a mark the reader has not handed out yet.
func (r *LiveReader) Left(mark int64) int64 {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.closed {
		return 0
	}
	return max(0, mark-int64(r.seq)) + int64(len(r.missed))
}

// Backlog returns the end of the queue as far as the tail has brought it; any is false if the reader has handed out everything.
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

// Reached reports whether the reader has handed out everything before a mark. Only the goroutine that uses the reader may call it.
func (r *QueueReader) Reached(mark int64) bool {
	v := r.view
	v.src.mu.Lock()
	defer v.src.mu.Unlock()
	return r.closed || r.live && r.offset >= mark
}
