package storetest

import (
	"context"
	"strconv"

	"github.com/lmqgate/lmqgate/core/store"
)

// Cut makes the broker lose all records of the queue from the one at offset at on, of those that there are. Their offsets are free for
// others. It is for queues without other faults, and for one cut.
func (f *Faulty) Cut(ctx context.Context, ref store.QueueRef, at int64) error {
	b, err := f.Store.Bounds(ctx, ref)
	if err != nil {
		return err
	}
	f.change(ref.Queue, func(q *faults) { q.cut, q.lost = at, b.Max-at })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts = append(f.cuts, map[string]int64{ref.Queue: at})
	return nil
}

// Cuts returns how often Cut was called.
func (f *Faulty) Cuts(string) int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int32(len(f.cuts))
}

// Mark returns a mark that says how often Cut was called before.
func (*Faulty) Mark(_ string, cuts int32) store.Mark { return store.Mark(strconv.Itoa(int(cuts))) }

// Resume goes back to each cut of the queue since the mark.
func (f *Faulty) Resume(_ context.Context, ref store.QueueRef, next int64, m store.Mark) (int64, int32, error) {
	since, err := strconv.Atoi(string(m))
	if err != nil {
		since = 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cut := range f.cuts[since:] {
		if at, ok := cut[ref.Queue]; ok {
			next = min(next, at)
		}
	}
	return next, int32(len(f.cuts)), nil
}

// isLost reports whether the broker has lost a record.
func (q *faults) isLost(at int64) bool { return at >= q.cut && at < q.cut+q.lost }
