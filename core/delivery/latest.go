package delivery

import (
	"context"
	"slices"
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

// This file determines which stored records the tails of this node have not brought yet.

// Known is where the physical queues of tails ended at some moment.
type Known struct{ ends []ends }

// latestTails bounds the tails about which one Latest asks the store. For further tails it uses what this node knows.
const latestTails = 32

// Latest returns what all nodes have stored so far in topics that are tailed. It asks the store.
func (h *Hub) Latest(ctx context.Context, firsts []string) Known {
	var all []*ends
	h.mu.Lock()
	for _, first := range firsts {
		name, err := h.catalog.Resolve(first)
		if err != nil {
			continue
		}
		key := tailKey{name: name}
		if t := h.tails[key]; t != nil && t.runs() && !slices.ContainsFunc(all, func(e *ends) bool { return e.tail == t }) {
			all = append(all, &ends{key: key, tail: t})
		}
	}
	h.mu.Unlock()
	var asks sync.WaitGroup
	for i, e := range all {
		note := func(p store.Partition, begin, known int64) { e.list = append(e.list, end{p, begin, known}) }
		if i >= latestTails {
			e.tail.t.Ends(note)
			continue
		}
		asks.Go(func() { e.tail.t.Latest(ctx, note) })
	}
	asks.Wait()
	var k Known
	for _, e := range all {
		k.ends = append(k.ends, *e)
	}
	return k
}

// Passed returns how many of the records in k the reader's tails have not brought yet. If it is none, mark is the point up to which the
// reader has to hand out records to have handed out all of them.
func (r *LiveReader) Passed(k Known) (mark, missing int64) {
	h := r.src.hub
	h.mu.Lock()
	tails := slices.Clone(r.src.tails)
	h.mu.Unlock()
	h.routing.Lock()
	defer h.routing.Unlock()
	for _, e := range k.ends {
		if !slices.Contains(tails, e.key) {
			continue
		}
		for _, end := range e.list {
			missing += max(0, end.end-max(end.begin, e.tail.parts.get(end.p).next))
		}
	}
	if missing > 0 {
		return 0, missing
	}
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	return int64(r.view.end()), 0
}
