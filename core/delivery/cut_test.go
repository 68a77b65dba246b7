package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// fill stores records at the offsets from, inclusive, to end, exclusive.
func (s *faultyStore) fill(from, end int64) (out []*store.Record) {
	for i := from; i < end; i++ {
		out = append(out, s.record("T/a", 0, at(i)))
	}
	s.index(out...)
	return out
}

func TestAReaderGoesBackToWhereABrokerLostRecords(t *testing.T) {
	for _, end := range []int64{8, 10, 14} { // before, at and after the offset that the readers had come to
		st := newFaultyStore()
		h := newHub(t, st, Options{})
		o, r := openQueue(t, h, 0)
		settle(t, r)
		slow, behind := openQueue(t, h, 0) // it has read the records before the cut only
		recs := st.fill(0, 10)
		st.tail(recs...)
		require.Equal(t, ids(recs...), collect(t, o, r, 10))
		require.Equal(t, ids(recs[:4]...), collectFew(t, behind, 4))
		st.cut(6)
		anew := st.fill(6, end)
		st.tail(anew...)
		require.Equal(t, ids(anew...), collect(t, o, r, len(anew)))
		require.Equal(t, end, r.Offset())
		require.EqualValues(t, 1, r.Cuts())
		rest := append(ids(recs[4:6]...), ids(anew...)...)
		require.Subset(t, collect(t, slow, behind, len(rest)), rest)
		more := st.fill(end, end+3)
		st.tail(more...)
		require.Equal(t, ids(more...), collect(t, o, r, 3))
	}
}

// collectFew reads a few records, one at a time.
func collectFew(t *testing.T, r *QueueReader, n int) (out []string) {
	t.Helper()
	for len(out) < n {
		items, state := r.Next(1, nil)
		if state == Behind {
			var err error
			items, err = r.Fetch(t.Context(), 1, nil)
			require.NoError(t, err)
		}
		for _, it := range items {
			out = append(out, it.Record.ID)
		}
	}
	return out
}

func TestAQueueWhoseIndexLagsBehindTheTailHasNotBegunAnew(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	recs := st.fill(0, 10)
	o, r := openQueue(t, h, 11) // the tail has brought one record more
	for range 5 {
		items, err := r.Fetch(t.Context(), 32, nil)
		require.NoError(t, err)
		require.Empty(t, items, "not the whole queue")
	}
	late, next := st.record("T/a", 0, at(10)), st.record("T/a", 0, at(11))
	st.index(late, next)
	require.Equal(t, ids(next), collect(t, o, r, 1))
	require.NotEmpty(t, recs)
}

func TestWhatATailBringsLateFromBeforeACutIsPassedOver(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	recs := st.fill(0, 10)
	st.tail(recs[:9]...)
	require.Equal(t, ids(recs[:9]...), collect(t, o, r, 9))
	st.cut(6)
	anew := st.fill(6, 8)
	st.tail(anew[0], recs[9], anew[1])
	require.Equal(t, ids(anew...), collect(t, o, r, 2))
	require.EqualValues(t, 8, r.Offset())
}

func TestARecordFromAfterACutCountsAsNewToAReaderThatHasNotGoneBack(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	recs := st.fill(0, 10)
	st.tail(recs...)
	collect(t, o, r, 10)
	require.True(t, r.Passed(recs[7]))
	st.cut(6)
	anew := st.fill(6, 8)
	require.False(t, r.Passed(anew[1]))
	require.True(t, r.Covers(anew[1]))
	st.tail(anew...)
	collect(t, o, r, 2)
	require.True(t, r.Passed(anew[1]))
}
