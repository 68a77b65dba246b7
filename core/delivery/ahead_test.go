package delivery

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

// countingStore counts the reads of a faultyStore.
type countingStore struct {
	*faultyStore
	reads atomic.Int64
}

func (s *countingStore) Read(ctx context.Context, q store.QueueRef, offset int64, limit int) (store.Batch, error) {
	s.reads.Add(1)
	return s.faultyStore.Read(ctx, q, offset, limit)
}

func (s *countingStore) ReadPartition(ctx context.Context, name string, p store.Partition, offset int64, limit int) (store.Batch, error) {
	s.reads.Add(1)
	return s.faultyStore.ReadPartition(ctx, name, p, offset, limit)
}

func TestReadersThatAreBehindReadAheadWithinABound(t *testing.T) {
	const n = 4000
	for _, room := range []bool{true, false} {
		st := &countingStore{faultyStore: newFaultyStore()}
		o := Options{}
		if !room {
			o.MaxBuffered = 1
		}
		h := newHub(t, st, o)
		queueOwner, liveOwner := newOwner(), newOwner()
		live, err := h.Live(t.Context(), "T/#", liveOwner)
		require.NoError(t, err)
		queue, err := h.Queue(t.Context(), "T/#", refOf("T/#"), 0, 0, queueOwner)
		require.NoError(t, err)
		if !room {
			h.ahead.Add(1) // others hold as much as may be held
		}
		var recs []*store.Record
		for i := range n {
			rec := st.record("T/a", int32(i%2), at(int64(i)))
			rec.Payload = make([]byte, 100)
			recs = append(recs, rec)
		}
		st.index(recs...)
		require.Equal(t, ids(recs...), collect(t, queueOwner, queue, n))
		if room {
			require.Less(t, st.reads.Load(), int64(n/fetchLimit/4))
		} else {
			require.GreaterOrEqual(t, st.reads.Load(), int64(n/fetchLimit))
		}

		st.reads.Store(0)
		for range 3 * maxEntries / n {
			st.tail(recs...)
		}
		_, state := live.Next(1, nil)
		require.Equal(t, Behind, state)
		for range 2 { // the first read finds out how large the records are
			_, err = live.Fetch(t.Context(), fetchLimit, nil)
			require.NoError(t, err)
		}
		if room {
			require.Positive(t, h.ahead.Load())
		}
		require.LessOrEqual(t, h.ahead.Load(), int64(2*aheadBytes))
		live.Close()
		queue.Close()
		if room {
			require.Zero(t, h.ahead.Load())
		} else {
			require.EqualValues(t, 1, h.ahead.Load())
		}
	}
}

func TestWhatIsReadAheadIsHandedOutInOrderAndDroppedWithItsReader(t *testing.T) {
	h := &Hub{budget: 1 << 30}
	a := &ahead{hub: h}
	var asked []int
	load := func(from int64) func(n int) (store.Batch, error) {
		return func(n int) (store.Batch, error) {
			asked = append(asked, n)
			b := store.Batch{Max: 1000}
			for i := range n {
				offset := from + int64(2*i) // offsets have gaps
				b.Records, b.Offsets, b.Next = append(b.Records, &store.Record{}), append(b.Offsets, offset), offset+2
			}
			return b, nil
		}
	}
	var got []int64
	for next := int64(0); len(got) < 100; {
		b, err := a.read(next, 10, load(next))
		require.NoError(t, err)
		require.LessOrEqual(t, len(b.Records), 10)
		got, next = append(got, b.Offsets...), b.Next
	}
	require.True(t, slices.IsSorted(got))
	require.EqualValues(t, 198, got[99])
	require.Equal(t, []int{10, 20, 40, 80}, asked)
	require.Positive(t, h.ahead.Load())

	_, err := a.read(7, 10, load(7)) // the reader went elsewhere
	require.NoError(t, err)
	require.Len(t, asked, 5)
	_, err = a.read(5, 10, func(n int) (store.Batch, error) {
		a.close() // the reader is closed meanwhile
		return load(5)(n)
	})
	require.NoError(t, err)
	require.Zero(t, h.ahead.Load())
}
