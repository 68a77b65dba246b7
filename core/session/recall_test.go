package session

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// gappyQueue is a store with one queue, which has records at some of its offsets. A read returns up to 32 records.
type gappyQueue struct {
	store.Store

	bounds store.Bounds
	has    func(offset int64) bool
	reads  int
}

func (q *gappyQueue) Bounds(context.Context, store.QueueRef) (store.Bounds, error) {
	return q.bounds, nil
}

func (q *gappyQueue) Read(_ context.Context, _ store.QueueRef, offset int64, n int) (store.Batch, error) {
	q.reads++
	b := store.Batch{Next: q.bounds.Max, Min: q.bounds.Min, Max: q.bounds.Max}
	for at := offset; at < q.bounds.Max; at++ {
		if !q.has(at) {
			continue
		}
		if len(b.Records) == min(n, 32) {
			b.Next = at
			break
		}
		b.Records, b.Offsets = append(b.Records, &store.Record{Position: store.Position{Offset: at}}), append(b.Offsets, at)
	}
	return b, nil
}

func TestReadingBackwardsCrossesWhatACrashTook(t *testing.T) {
	for _, c := range []struct {
		name  string
		store *gappyQueue
		want  int
	}{
		{"a large gap", &gappyQueue{bounds: store.Bounds{Min: 7, Max: 20_010}, has: func(at int64) bool { return at < 100 || at >= 20_000 }}, 103},
		{"gaps everywhere", &gappyQueue{bounds: store.Bounds{Max: 50_000}, has: func(at int64) bool { return at%5_000 == 0 }}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Session{m: &Manager{o: Options{Store: c.store}}}
			last, n := c.store.bounds.Max, 0
			for rec, err := range s.backwards(t.Context(), store.QueueRef{}, func(*store.Record) bool { return true }) {
				require.NoError(t, err)
				require.Less(t, rec.Position.Offset, last, "newest first, each once")
				last = rec.Position.Offset
				n++
			}
			require.Equal(t, c.want, n)
		})
	}
}

func TestReadingBackwardsIsBounded(t *testing.T) {
	q := &gappyQueue{bounds: store.Bounds{Max: 1 << 40}, has: func(int64) bool { return true }}
	s := &Session{m: &Manager{o: Options{Store: q}}}
	n := 0
	for _, err := range s.backwards(t.Context(), store.QueueRef{}, func(*store.Record) bool { n++; return false }) {
		require.NoError(t, err)
	}
	require.Equal(t, 8192, n)
	require.Equal(t, backReads, q.reads)
}
