package delivery

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// endsAt is a store whose tails report where they begin and what is known to be stored.
type endsAt struct {
	*faultyStore
	begin, end map[int32]int64
	latest     map[int32]int64 // including what other nodes have stored
}

func (s endsAt) Tail(ctx context.Context, name string, f store.TailFunc) (store.Tail, error) {
	_, err := s.faultyStore.Tail(ctx, name, f)
	return endsTail{s}, err
}

type endsTail struct{ s endsAt }

func (endsTail) Close() {}

func (t endsTail) Ends(f func(p store.Partition, begin, end int64)) {
	for id, begin := range t.s.begin {
		f(store.Partition{Broker: testBroker, ID: id}, begin, max(begin, t.s.end[id]))
	}
}

func (t endsTail) Latest(_ context.Context, f func(p store.Partition, begin, end int64)) {
	for id, begin := range t.s.begin {
		f(store.Partition{Broker: testBroker, ID: id}, begin, max(begin, t.s.latest[id]))
	}
}

func live(t *testing.T, h *Hub, filter string) *LiveReader {
	t.Helper()
	r, err := h.Live(t.Context(), filter, deaf{})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func handed(r *LiveReader) (all, early []string) {
	items, _ := r.Next(100, nil)
	for _, it := range items {
		if it.Early {
			early = append(early, it.Record.ID)
		} else {
			all = append(all, it.Record.ID)
		}
	}
	return all, early
}

func TestEveryRecordIsEitherBeforeAReadersStartOrHandedOutByIt(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 2, 1: 0}, end: map[int32]int64{}}
	h := newHub(t, st, Options{})
	for range 2 {
		st.record("T/a", 0) // before the tail begins
	}
	first := live(t, h, "T/#")
	var recs []*store.Record
	for i := range 8 {
		recs = append(recs, st.record("T/a", int32(i%2)))
	}
	readers := []*LiveReader{first}
	for _, r := range recs {
		st.tail(r)
		readers = append(readers, live(t, h, "T/a"))
	}
	later := st.record("T/a", 0)
	for i, r := range readers {
		all, early := handed(r)
		require.Empty(t, early)
		require.Equal(t, ids(recs[i:]...), all, "reader %d", i)
		for j, rec := range recs {
			require.Equal(t, j < i, r.Start().Missed("T/a", rec.Position), "record %d of reader %d", j, i)
		}
		require.True(t, r.Start().Missed("T/a", store.Position{Broker: testBroker, Offset: 1}), "what is older than the tail")
		require.False(t, r.Start().Missed("T/a", later.Position))
		require.False(t, r.Now().Missed("T/a", later.Position))
		require.True(t, r.Now().Missed("T/a", recs[7].Position), "it is routed by now")
	}
}

func TestWhatIsKnownToBeStoredBeforeAReaderOpensIsLeftOutButForWhatIsRetained(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 0, 1: 0}, end: map[int32]int64{}}
	h := newHub(t, st, Options{})
	before := live(t, h, "T/#")
	plain, kept, other := st.record("T/a", 0), st.record("T/a", 0), st.record("T/a", 1)
	kept.Retain = true
	st.end[0] = 2 // acknowledged, but not delivered by the tail yet
	r := live(t, h, "T/#")
	after := st.record("T/a", 0)
	st.tail(plain, kept, after, other)
	all, early := handed(r)
	require.Equal(t, ids(after, other), all)
	require.Equal(t, ids(kept), early)
	require.False(t, r.Start().Missed("T/a", kept.Position), "the reader hands it out, if early")
	all, early = handed(before)
	require.Equal(t, ids(plain, kept, after, other), all)
	require.Empty(t, early)
}

func TestATailHasPassedWhatTheStoreHasOnceItHasBroughtItWhoeverStoredIt(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 0, 1: 0}, end: map[int32]int64{}, latest: map[int32]int64{}}
	h := newHub(t, st, Options{})
	r, elsewhere := live(t, h, "T/#"), live(t, h, "U/#")
	of := st.record("T/a", 1)
	st.latest[1] = 1 // stored by another node
	known := h.Latest(t.Context(), []string{"T", "T", "unknown/topic"})
	_, missing := r.Passed(known)
	require.EqualValues(t, 1, missing)
	mark, missing := elsewhere.Passed(known)
	require.Zero(t, missing, "it is of another topic")
	require.Zero(t, mark)
	st.tail(of)
	mark, missing = r.Passed(known)
	require.Zero(t, missing)
	require.EqualValues(t, 1, r.Left(mark))
	require.False(t, r.Reached(mark))
	handed(r)
	require.True(t, r.Reached(mark))
}

func TestAReaderOfWhatLacksTheQueueIsHandedRetainedRecordsThatHaveItEarly(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	r, err := h.Loose(t.Context(), "T/#", deaf{})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	without, with, kept := st.record("T/a", 0), st.record("T/a", 0, at(0)), st.record("T/a", 0, at(1))
	kept.Retain = true
	st.tail(without, with, kept)
	all, early := handed(r)
	require.Equal(t, ids(without), all)
	require.Equal(t, ids(kept), early)
}

func TestAQueueThatBeganAnewIsAfterTheStartOfEarlierReaders(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 0}, end: map[int32]int64{}}
	h := newHub(t, st, Options{})
	first := live(t, h, "T/#")
	st.tail(st.record("T/a", 0), st.record("T/a", 0))
	r := live(t, h, "T/#")
	again := &store.Record{Message: store.Message{Topic: "T/a"}, ID: "again", Position: store.Position{Broker: testBroker}}
	require.True(t, r.Start().Missed("T/a", again.Position))
	st.tail(again)
	require.False(t, r.Start().Missed("T/a", again.Position))
	require.False(t, first.Start().Missed("T/a", again.Position))
	require.True(t, live(t, h, "T/#").Start().Missed("T/a", again.Position))
}

func TestAPositionIsToldToTheReadersThatMissIt(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 0}, end: map[int32]int64{}}
	h := newHub(t, st, Options{})
	open := func(filter string) *owner {
		o := newOwner()
		r, err := h.Live(t.Context(), filter, o)
		require.NoError(t, err)
		t.Cleanup(r.Close)
		return o
	}
	one := open("T/#")
	rec := st.record("T/a", 0)
	st.tail(rec)
	two, three := open("T/a"), open("T/#")
	open("T/b")
	missed := func(p store.Position) (out []Owner) {
		h.Missed("T/a", p, func(o Owner) { out = append(out, o) })
		return out
	}
	require.ElementsMatch(t, []Owner{two, three}, missed(rec.Position))
	require.NotContains(t, missed(rec.Position), one)
	require.Empty(t, missed(store.Position{Broker: testBroker, Offset: 1}))
}

func TestATailThatBeginsTellsOfWhatWasRetainedJustBefore(t *testing.T) {
	st := endsAt{faultyStore: newFaultyStore(), begin: map[int32]int64{0: 0, 1: 0, 2: 0}, end: map[int32]int64{}}
	now := time.Now().UnixMilli()
	var want []string
	for i := range 100 {
		for part := range int32(2) {
			rec := st.record("T/a", part)
			rec.Position.Time = now - int64(100-i)*100 // spread over ten seconds
			rec.Retain = true
			if i >= 70 {
				want = append(want, rec.ID)
			}
		}
	}
	st.record("T/a", 2).Retain = true // a long time ago
	st.begin[0], st.begin[1], st.begin[2] = 100, 100, 1
	var mu sync.Mutex
	told := map[string]bool{}
	h := newHub(t, st, Options{Retained: func(rec *store.Record) {
		mu.Lock()
		defer mu.Unlock()
		told[rec.ID] = true
	}})
	live(t, h, "T/#")
	mu.Lock()
	defer mu.Unlock()
	for _, id := range want {
		require.True(t, told[id], id)
	}
	require.Less(t, len(told), 150, "and of not much from before")
}

// ownStore is a store that only this process appends to.
type ownStore struct{ endsAt }

func (ownStore) Limits() store.Limits { return store.Limits{Exclusive: true} }

func TestAPositionOfAnotherStoreIsMissedByEveryReader(t *testing.T) {
	at := map[int32]int64{0: 2}
	own := ownStore{endsAt{faultyStore: newFaultyStore(), begin: at, end: at}}
	r := live(t, newHub(t, own, Options{}), "T/#")
	elsewhere := store.Position{Broker: testBroker, Offset: 2, Time: time.Now().UnixMilli()}
	require.True(t, r.Now().Missed("T/a", elsewhere), "this store ends at 2 and nobody else appends to it")

	shared := live(t, newHub(t, endsAt{faultyStore: newFaultyStore(), begin: at, end: at}, Options{}), "T/#")
	require.False(t, shared.Now().Missed("T/a", elsewhere), "another gateway may have appended it, and the tail brings it")
}
