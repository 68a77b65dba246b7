package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/lmqgate/lmqgate/internal/testlog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// faultyStore is a store in which a test fills the tail and the index independently. In a real store they differ only when something
// breaks.
type faultyStore struct {
	store.Store
	mu     sync.Mutex
	queues map[store.QueueRef][]slot
	parts  map[store.Partition][]*store.Record
	tails  map[string]store.TailFunc
	// missing are topics that the store does not have.
	missing map[string]bool
	// cuts is how often the broker's log was cut, cutAt where it was cut last, in every queue.
	cuts  int32
	cutAt int64
	// endless makes every read return an empty end of the queue, for benchmarks.
	endless bool
}

type slot struct {
	offset int64
	rec    *store.Record
}

type faultyTail struct{}

func (faultyTail) Close()                                         {}
func (faultyTail) Ends(func(p store.Partition, begin, end int64)) {}

func (faultyTail) Latest(context.Context, func(p store.Partition, begin, end int64)) {}

func newFaultyStore() *faultyStore {
	return &faultyStore{queues: map[store.QueueRef][]slot{}, parts: map[store.Partition][]*store.Record{}, tails: map[string]store.TailFunc{}}
}

func (s *faultyStore) Limits() store.Limits { return store.Limits{} }

func (s *faultyStore) Tail(_ context.Context, name string, f store.TailFunc) (store.Tail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing[name] {
		return nil, fmt.Errorf("%w: %q", store.ErrUnknownTopic, name)
	}
	s.tails[name] = f
	return faultyTail{}, nil
}

func (s *faultyStore) TailQueue(ctx context.Context, queue string, f store.TailFunc) (store.Tail, error) {
	return s.Tail(ctx, queue, f)
}

func (s *faultyStore) Cuts(string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts
}

func (*faultyStore) Mark(_ string, cuts int32) store.Mark { return store.Mark(fmt.Sprint(cuts)) }

func (s *faultyStore) Resume(_ context.Context, _ store.QueueRef, next int64, m store.Mark) (int64, int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m != store.Mark(fmt.Sprint(s.cuts)) {
		next = min(next, s.cutAt)
	}
	return next, s.cuts, nil
}

// cut loses the records of every queue from an offset on.
func (s *faultyStore) cut(from int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts++
	s.cutAt = from
	for ref, slots := range s.queues {
		s.queues[ref] = slices.DeleteFunc(slots, func(sl slot) bool { return sl.offset >= from })
	}
}

func (s *faultyStore) Read(_ context.Context, q store.QueueRef, offset int64, limit int) (store.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := store.Batch{Next: offset, Cuts: s.cuts}
	if s.endless {
		b.Max = offset
		return b, nil
	}
	slots := s.queues[q]
	if len(slots) > 0 {
		b.Min, b.Max = slots[0].offset, slots[len(slots)-1].offset+1
	}
	if offset > b.Max {
		b.Next = b.Min
		return b, nil
	}
	b.Next = max(offset, b.Min)
	for _, sl := range slots {
		switch {
		case sl.offset < offset || len(b.Records) >= limit:
		case sl.rec == nil: // a slot that does not count
			b.Next = sl.offset + 1
			return b, nil
		default:
			b.Records, b.Offsets = append(b.Records, sl.rec), append(b.Offsets, sl.offset)
			b.Next = sl.offset + 1
		}
	}
	return b, nil
}

func (s *faultyStore) ReadPartition(_ context.Context, _ string, p store.Partition, offset int64, limit int) (store.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := store.Batch{Next: offset, Max: int64(len(s.parts[p]))}
	for i := offset; i < b.Max && len(b.Records) < limit; i++ {
		b.Records, b.Offsets = append(b.Records, s.parts[p][i]), append(b.Offsets, i)
		b.Next = i + 1
	}
	return b, nil
}

const testBroker = "b1"

// record adds a record to a partition. Its entries name the queues and offsets that it will have in the index.
func (s *faultyStore) record(name string, part int32, entries ...store.Entry) *store.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := store.Partition{Broker: testBroker, ID: part}
	r := &store.Record{Message: store.Message{Topic: name, QoS: 1}, Entries: entries, Cuts: s.cuts,
		Position: store.Position{Broker: testBroker, Partition: part, Offset: int64(len(s.parts[p]))}}
	r.ID = fmt.Sprintf("%s-%d-%d", name, part, r.Position.Offset)
	s.parts[p] = append(s.parts[p], r)
	return r
}

// index adds records to their queues, as the store does.
func (s *faultyStore) index(recs ...*store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range recs {
		for _, e := range r.Entries {
			ref := store.QueueRef{Queue: e.Queue, Broker: testBroker}
			s.queues[ref] = append(s.queues[ref], slot{e.Offset, r})
		}
	}
}

// tail delivers records to the tails of their topics.
func (s *faultyStore) tail(recs ...*store.Record) {
	for _, r := range recs {
		s.mu.Lock()
		f := s.tails[topic.First(r.Topic)]
		s.mu.Unlock()
		f(store.Partition{Broker: testBroker, ID: r.Position.Partition}, []*store.Record{r})
	}
}

// owner collects the wake-ups of its readers.
type owner struct{ ready chan Reader }

func newOwner() *owner { return &owner{ready: make(chan Reader, 1024)} }

func (o *owner) ReaderReady(r Reader) { o.ready <- r }

// deaf is an owner that reads without wake-ups.
type deaf struct{}

func (deaf) ReaderReady(Reader) {}

// names is a catalog that lists some topics and resolves every name to itself.
type names struct {
	mu     sync.Mutex
	topics []string
}

func (n *names) Topics() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.topics)
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.topics = append(n.topics, name)
}

func (*names) Resolve(first string) (string, error) { return first, nil }
func (*names) Compatible() bool                     { return false }

func newHub(t *testing.T, st store.Store, o Options) *Hub {
	t.Helper()
	o.Store = st
	if o.Catalog == nil {
		o.Catalog = &names{topics: []string{"T"}}
	}
	h := New(o)
	t.Cleanup(h.Close)
	return h
}

// collect reads until n records have come, as a session does.
func collect(t *testing.T, o *owner, r Reader, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ids []string
	take := func(items []Item) {
		for _, it := range items {
			ids = append(ids, it.Record.ID)
		}
	}
	for len(ids) < n {
		items, state := r.Next(32, nil)
		take(items)
		switch {
		case state == Behind:
			items, err := r.Fetch(ctx, 32, nil)
			require.NoError(t, err)
			take(items)
		case state == Idle && len(ids) < n:
			select {
			case <-o.ready:
			case <-ctx.Done():
				t.Fatalf("only %d of %d records came: %v", len(ids), n, ids)
			}
		}
	}
	return ids
}

func ids(recs ...*store.Record) []string {
	var out []string
	for _, r := range recs {
		out = append(out, r.ID)
	}
	return out
}

func at(offset int64) store.Entry { return store.Entry{Queue: topic.Queue("T/#"), Offset: offset} }

func refOf(filter string) store.QueueRef {
	return store.QueueRef{Queue: topic.Queue(filter), Broker: testBroker}
}

func openQueue(t *testing.T, h *Hub, offset int64) (*owner, *QueueReader) {
	t.Helper()
	o := newOwner()
	r, err := h.Queue(t.Context(), "T/#", refOf("T/#"), 0, offset, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return o, r
}

// settle reads until the reader has caught up with an empty queue and reads from the window.
func settle(t *testing.T, r *QueueReader) {
	t.Helper()
	for range 3 {
		if _, state := r.Next(1, nil); state == Idle {
			return
		}
		_, err := r.Fetch(t.Context(), 1, nil)
		require.NoError(t, err)
	}
	_, state := r.Next(1, nil)
	require.Equal(t, Idle, state)
}

func TestRecordsThatArriveInAnyOrderAreReadInQueueOrder(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	var recs []*store.Record
	for i := range 40 {
		recs = append(recs, st.record("T/a", int32(i%4), at(int64(i))))
	}
	st.index(recs...)
	for _, part := range []int{3, 1, 0, 2} {
		for i := part; i < len(recs); i += 4 {
			st.tail(recs[i])
		}
	}
	require.Equal(t, ids(recs...), collect(t, o, r, len(recs)))
	require.EqualValues(t, 40, r.Offset())
}

func TestARecordThatTheTailNeverBringsIsReadFromTheStore(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	a, b, c := st.record("T/a", 0, at(0)), st.record("T/a", 1, at(1)), st.record("T/a", 0, at(2))
	st.index(a, b, c)
	st.tail(a, c)
	require.Equal(t, ids(a, b, c), collect(t, o, r, 3))
	// b comes late after all, and must not be read twice.
	st.tail(b)
	d := st.record("T/a", 0, at(3))
	st.index(d)
	st.tail(d)
	require.Equal(t, ids(d), collect(t, o, r, 1))
}

func TestOffsetsThatDoNotExistAreSkipped(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	a, c := st.record("T/a", 0, at(0)), st.record("T/a", 0, at(5))
	st.index(a, c)
	st.tail(a, c)
	require.Equal(t, ids(a, c), collect(t, o, r, 2))
	require.EqualValues(t, 6, r.Offset())
}

// TestAnOffsetThatTheIndexHasYetToReachIsWaitedFor has a broker whose index lags behind what the tail brings. The tail of another partition
// lags too, so an offset is missing that exists.
func TestAnOffsetThatTheIndexHasYetToReachIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaultyStore()
		h := newHub(t, st, Options{})
		o, r := openQueue(t, h, 0)
		settle(t, r)
		behind, slow := openQueue(t, h, 1)
		a, b, c := st.record("T/a", 0, at(0)), st.record("T/a", 1, at(1)), st.record("T/a", 0, at(2))
		st.index(a)
		st.tail(a, c)
		require.Equal(t, ids(a), collect(t, o, r, 1))
		for range 30 {
			time.Sleep(time.Second)
			items, _ := r.Next(32, nil)
			require.Empty(t, items)
			items, err := slow.Fetch(t.Context(), 32, nil)
			require.NoError(t, err)
			require.Empty(t, items)
		}
		st.index(b, c)
		require.Equal(t, ids(b, c), collect(t, o, r, 2))
		require.Equal(t, ids(b, c), collect(t, behind, slow, 2))
	})
}

func TestTwoRecordsAtOneOffsetAreBothRead(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	a, b, twin, c := st.record("T/a", 0, at(0)), st.record("T/a", 0, at(1)), st.record("T/b", 1, at(1)), st.record("T/a", 0, at(2))
	st.index(a, b, c)
	st.tail(a, b)
	require.Equal(t, ids(a, b), collect(t, o, r, 2))
	st.tail(twin, c)
	require.Equal(t, ids(twin, c), collect(t, o, r, 2))
	require.EqualValues(t, 3, r.Offset())
}

func TestAQueueThatBeganAnewIsReadFromItsFirstRecord(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o, r := openQueue(t, h, 100)
	a, b := st.record("T/a", 0, at(0)), st.record("T/a", 0, at(1))
	st.index(a, b)
	require.Equal(t, ids(a, b), collect(t, o, r, 2))
	require.EqualValues(t, 2, r.Offset())
}

func TestABacklogIsReadBeforeWhatIsNew(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	var recs []*store.Record
	for i := range 100 {
		recs = append(recs, st.record("T/a", 0, at(int64(i))))
	}
	st.index(recs[:90]...)
	o, r := openQueue(t, h, 10)
	st.index(recs[90:]...)
	st.tail(recs[90:]...)
	require.Equal(t, ids(recs[10:]...), collect(t, o, r, 90))
}

func TestAReaderThatFallsOutOfTheWindowMissesNothing(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	slow, fast := newOwner(), newOwner()
	rs, err := h.Queue(t.Context(), "T/#", refOf("T/#"), 0, 0, slow)
	require.NoError(t, err)
	defer rs.Close()
	rf, err := h.Queue(t.Context(), "T/#", refOf("T/#"), 0, 0, fast)
	require.NoError(t, err)
	defer rf.Close()
	ls, err := h.Live(t.Context(), "T/#", slow)
	require.NoError(t, err)
	defer ls.Close()
	settle(t, rs)
	settle(t, rf)
	_, state := ls.Next(1, nil)
	require.Equal(t, Idle, state)
	const n = 3 * maxEntries
	var recs []*store.Record
	for i := range n {
		rec := st.record("T/a", int32(i%2), at(int64(i)))
		recs = append(recs, rec)
		st.index(rec)
		st.tail(rec)
		if i%100 == 99 {
			require.Len(t, collect(t, fast, rf, 100), 100)
		}
	}
	require.LessOrEqual(t, h.buffered.Load(), int64(2*maxEntries*recs[0].Size()))
	require.Equal(t, ids(recs...), collect(t, slow, rs, n))
	require.Equal(t, slices.Sorted(slices.Values(ids(recs...))), slices.Sorted(slices.Values(collect(t, slow, ls, n))), "each is read again")
}

func TestALiveReaderThatIsTooFarBehindIsTold(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{MaxBehind: 10})
	o := newOwner()
	r, err := h.Live(t.Context(), "T/#", o)
	require.NoError(t, err)
	defer r.Close()
	for range maxEntries + 1 {
		st.tail(st.record("T/a", 0))
	}
	_, state := r.Next(32, nil)
	require.Equal(t, Behind, state)
	_, err = r.Fetch(t.Context(), 32, nil)
	require.ErrorIs(t, err, ErrTooFarBehind)
	require.EqualValues(t, (maxEntries+1+1)/2, r.Skip())
	require.Len(t, collect(t, o, r, maxEntries/2), maxEntries/2)
}

func TestALooseReaderGetsOnlyRecordsWithoutTheQueue(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o := newOwner()
	r, err := h.Loose(t.Context(), "T/#", o)
	require.NoError(t, err)
	defer r.Close()
	indexed, plain := st.record("T/a", 0, at(0)), st.record("T/a", 0)
	st.index(indexed)
	st.tail(indexed, plain)
	require.Equal(t, ids(plain), collect(t, o, r, 1))
}

func TestARecordOfACollidingTopicIsNotRead(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	o := newOwner()
	r, err := h.Queue(t.Context(), "T/a", refOf("T/a"), 0, 0, o)
	require.NoError(t, err)
	defer r.Close()
	q := topic.Queue("T/a")
	require.Equal(t, q, topic.Queue("T/a/"))
	other, mine := st.record("T/a/", 0, store.Entry{Queue: q, Offset: 0}), st.record("T/a", 0, store.Entry{Queue: q, Offset: 1})
	st.index(other, mine)
	require.Equal(t, ids(mine), collect(t, o, r, 1))
	require.EqualValues(t, 2, r.Offset())
}

func TestAnIdleQueueIsComparedWithTheStoreNowAndThen(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{Verify: 20 * time.Millisecond})
	o, r := openQueue(t, h, 0)
	settle(t, r)
	lost := st.record("T/a", 0, at(0))
	st.index(lost) // the tail never delivers it
	require.Equal(t, ids(lost), collect(t, o, r, 1))
}

func TestAFilterWithAWildcardFirstLevelTailsTopicsThatComeLater(t *testing.T) {
	st := newFaultyStore()
	known := &names{topics: []string{"T"}}
	h := newHub(t, st, Options{Catalog: known})
	o := newOwner()
	r, err := h.Live(t.Context(), "#", o)
	require.NoError(t, err)
	defer r.Close()
	known.add("U")
	require.NoError(t, h.TopicsChanged(t.Context()))
	rec := st.record("U/x", 7)
	st.tail(rec)
	require.Equal(t, ids(rec), collect(t, o, r, 1))
}

func TestAListedTopicThatIsNotThereIsLeftOutUntilItIs(t *testing.T) {
	st := newFaultyStore()
	st.missing = map[string]bool{"stale": true}
	var log testlog.Buffer
	h := newHub(t, st, Options{
		Catalog: &names{topics: []string{"stale", "T"}}, Verify: 10 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for _, filter := range []string{"#", "+/x", "#"} {
		o := newOwner()
		r, err := h.Live(t.Context(), filter, o)
		require.NoError(t, err)
		defer r.Close()
		rec := st.record("T/x", 0)
		st.tail(rec)
		require.Equal(t, ids(rec), collect(t, o, r, 1))
	}
	require.Equal(t, 1, strings.Count(log.String(), "topic=stale"), log.String())
	_, err := h.Live(t.Context(), "stale/x", newOwner())
	require.ErrorIs(t, err, store.ErrUnknownTopic, "a filter of that topic only")
	st.mu.Lock()
	st.missing = nil
	st.mu.Unlock()
	require.Eventually(t, func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.tails["stale"] != nil
	}, time.Minute, time.Millisecond, "the topic is there now")
}

func TestRecordsThatDoNotCountAreReadPast(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	backlog, last := st.record("T/a", 0, at(3)), st.record("T/a", 0, at(6))
	ref := refOf("T/#")
	st.queues[ref] = []slot{{0, nil}, {1, nil}, {2, nil}, {3, backlog}, {4, nil}}
	o, r := openQueue(t, h, 0)
	require.Equal(t, ids(backlog), collect(t, o, r, 1))
	settle(t, r)
	require.EqualValues(t, 5, r.Offset())
	// The tail delivers neither a record at offset 5 nor a reason for its absence.
	st.mu.Lock()
	st.queues[ref] = append(st.queues[ref], slot{5, nil}, slot{6, last})
	st.mu.Unlock()
	st.tail(last)
	require.Equal(t, ids(last), collect(t, o, r, 1))
	require.EqualValues(t, 7, r.Offset())
}

func TestPointToPointReachesItsClientOnly(t *testing.T) {
	st := newFaultyStore()
	h := newHub(t, st, Options{})
	mine, all := newOwner(), newOwner()
	r, err := h.LiveP2P(t.Context(), "c1", mine)
	require.NoError(t, err)
	defer r.Close()
	wild, err := h.Live(t.Context(), "T/#", all)
	require.NoError(t, err)
	defer wild.Close()
	rec := st.record("T/p2p/c1", 0, store.Entry{Queue: topic.P2PQueue("c1"), Offset: 0})
	st.tail(rec) // the tail of the first-level topic delivers the record as well
	st.tails[topic.P2PBucket("c1")](store.Partition{Broker: testBroker}, []*store.Record{rec})
	require.Equal(t, ids(rec), collect(t, mine, r, 1))
	items, state := wild.Next(32, nil)
	require.Empty(t, items)
	require.Equal(t, Idle, state)
}

func BenchmarkRouteToOneQueueReader(b *testing.B) {
	st := newFaultyStore()
	st.endless = true
	h := New(Options{Store: st, Catalog: &names{}})
	defer h.Close()
	r, err := h.Queue(b.Context(), "T/#", refOf("T/#"), 0, 0, deaf{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	rec := &store.Record{Message: store.Message{Topic: "T/a"}, Entries: []store.Entry{at(0)}, Position: store.Position{Broker: testBroker}}
	if _, err := r.Fetch(b.Context(), 1, nil); err != nil {
		b.Fatal(err)
	}
	var buf []Item
	recs, at0 := []*store.Record{rec}, &part{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rec.Entries[0].Offset = int64(i)
		h.route("T", at0, store.Partition{Broker: testBroker}, recs)
		buf, _ = r.Next(32, buf[:0])
	}
}
