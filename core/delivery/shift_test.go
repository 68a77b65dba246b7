package delivery

import (
	"testing"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

// shifted makes n records whose places in the queue begin at place, and that state offsets which lie by further.
func (s *faultyStore) shifted(place int64, n int, by int64) (out []*store.Record) {
	for i := range int64(n) {
		r := s.record("T/a", int32(i%2), at(place+i+by))
		s.mu.Lock()
		r.Position.Log = 1000 + 10*(place+i)
		s.queues[refOf("T/#")] = append(s.queues[refOf("T/#")], slot{place + i, r})
		s.mu.Unlock()
		out = append(out, r)
	}
	return out
}

func TestRecordsThatStateOffsetsBeyondTheirPlacesAreReadOnceInOrderAndCommittedByPlace(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	good := st.shifted(0, 3, 0)
	st.tail(good...)
	require.Equal(t, ids(good...), collect(t, o, r, 3))
	odd := st.shifted(3, 4, 1) // the last of the good ones named the queue twice
	st.tail(odd[1], odd[0], odd[3], odd[2])
	require.Equal(t, ids(odd...), collect(t, o, r, 4))
	require.EqualValues(t, 7, r.Offset(), "a session that sleeps now must not pass over the next record")
	require.True(t, r.Passed(odd[3]))
	more := st.shifted(7, 2, 1)
	require.False(t, r.Passed(more[0]))
	st.tail(more...)
	require.Equal(t, ids(more...), collect(t, o, r, 2))
	// Another one names it twice.
	worse := st.shifted(9, 3, 2)
	st.tail(worse...)
	require.Equal(t, ids(worse...), collect(t, o, r, 3))
	// A broker that is restarted counts from the end of the queue.
	again := st.shifted(12, 40, 0)
	require.False(t, r.Passed(again[0]), "nor must it be taken for one that has come through another subscription")
	st.tail(again...)
	require.Equal(t, ids(again...), collect(t, o, r, 40))
	require.EqualValues(t, 52, r.Offset())
	last := st.shifted(52, 3, 0)
	st.tail(last[0])
	st.tail(again[39]) // late: the store had it before
	st.tail(last[1:]...)
	require.Equal(t, ids(last...), collect(t, o, r, 3))
}

func TestAReaderThatBeginsAmongRecordsThatStateOffsetsBeyondTheirPlacesGetsEachOnce(t *testing.T) {
	for name, from := range map[string]int64{"at the first": 0, "before the first of them": 3, "between": 5, "at the end": 8} {
		t.Run(name, func(t *testing.T) {
			st := newFaultyStore()
			h := newHub(t, st, Options{})
			all := append(st.shifted(0, 3, 0), st.shifted(3, 5, 2)...)
			o, r := openQueue(t, h, from)
			// The tail brings one of them before the reader has read any, so the window begins at an offset that is not its place.
			next := st.shifted(8, 1, 2)
			st.tail(next...)
			all = append(all, next...)
			require.Equal(t, ids(all[from:]...), collect(t, o, r, len(all)-int(from)))
			more := st.shifted(9, 20, 2)
			st.tail(more...)
			require.Equal(t, ids(more...), collect(t, o, r, 20))
			require.EqualValues(t, 29, r.Offset())
		})
	}
}

func TestARecordThatIsIndexedLateIsWaitedForWhereOffsetsAreNotPlaces(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	odd := st.shifted(0, 3, 1)
	st.tail(odd...)
	require.Equal(t, ids(odd...), collect(t, o, r, 3))
	late := st.record("T/a", 0, at(4))
	late.Position.Log = 5000
	st.tail(late) // the index does not have it yet
	for range 3 {
		items, _ := r.Next(32, nil)
		require.Empty(t, items)
	}
	st.mu.Lock()
	st.queues[refOf("T/#")] = append(st.queues[refOf("T/#")], slot{3, late})
	st.mu.Unlock()
	require.Equal(t, ids(late), collect(t, o, r, 1))
}
