package local

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

var queueA = store.QueueRef{Queue: "T%a%", Broker: Broker}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := New(o)
	require.NoError(t, err)
	require.NoError(t, s.Start(context.Background()))
	return s
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{},
		{Path: "x", Sync: 7},
		{Path: "x", Retention: -1},
		{Path: "x", MaxBytes: -1},
		{Path: "x", SyncInterval: -1},
	} {
		_, err := New(o)
		require.Error(t, err, "%+v", o)
	}
}

func TestMetricsAreRegistered(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := start(t, Options{Path: "mem", fs: vfs.NewMem(), Registerer: reg})
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	_, err := put(s, "1")
	require.NoError(t, err)
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	require.InDelta(t, 1, got["lmqgate_local_store_appended_records_total"], 0)
	require.Contains(t, got, "lmqgate_local_store_expired_records_total")
}

func TestAStoreThatIsNotStartedOrClosedRefuses(t *testing.T) {
	ctx := context.Background()
	s, err := New(Options{Path: "mem", fs: vfs.NewMem()})
	require.NoError(t, err)
	require.ErrorIs(t, s.Ready(ctx), store.ErrUnavailable)
	_, err = put(s, "early")
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NoError(t, s.Start(ctx))
	require.Error(t, s.Start(ctx), "started twice")
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	tail, err := s.Tail(ctx, "T", func(store.Partition, []*store.Record) {})
	require.NoError(t, err)

	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second Close does nothing")
	tail.Close()
	require.ErrorIs(t, s.Ready(ctx), store.ErrClosed)
	require.ErrorIs(t, s.Start(ctx), store.ErrClosed)
	_, err = put(s, "late")
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Read(ctx, queueA, 0, 1)
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Tail(ctx, "T", func(store.Partition, []*store.Record) {})
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, s.Commit(ctx, "c", 1, nil), store.ErrClosed)
	require.ErrorIs(t, s.DeleteTopic(ctx, "T"), store.ErrClosed)
}

func TestCloseAnswersEveryAppendAndKeepsWhatItAcknowledged(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{Path: "mem", fs: fs})
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	begun := make(chan struct{})
	for p := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := put(s, fmt.Sprint(i)); err != nil {
					if !isClosed(err) {
						t.Error(err)
					}
					refused.Add(1)
					return
				}
				stored.Add(1)
				if p == 0 && i == 100 {
					close(begun)
				}
			}
		})
	}
	<-begun
	require.NoError(t, s.Close())
	wg.Wait()
	require.Equal(t, int64(8), refused.Load())
	again := start(t, Options{Path: "mem", fs: fs})
	require.Len(t, readAll(t, again), int(stored.Load()))
}

func isClosed(err error) bool { return strings.Contains(err.Error(), store.ErrClosed.Error()) }

func TestOffsetsGoOnAfterEverythingExpiredAndARestart(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	var skew atomic.Int64
	o := Options{Path: "mem", fs: fs, Retention: time.Hour, now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }}
	s := open(t, o)
	fill(t, s, 2500)
	before, err := put(s, "last")
	require.NoError(t, err)
	skew.Add(int64(2 * time.Hour))
	require.NoError(t, s.expire())
	b, err := s.Bounds(ctx, queueA)
	require.NoError(t, err)
	require.Equal(t, store.Bounds{Min: 2501, Max: 2501}, b)
	require.NoError(t, s.Close())

	s = start(t, o)
	b, err = s.Bounds(ctx, queueA)
	require.NoError(t, err)
	require.Equal(t, store.Bounds{Min: 2501, Max: 2501}, b)
	p, err := put(s, "next")
	require.NoError(t, err)
	require.Equal(t, int64(2501), p.Offset)
	require.Equal(t, before.Log+1, p.Log, "places in the log are never given twice")
	require.GreaterOrEqual(t, p.Time, before.Time)
	batch, err := s.Read(ctx, queueA, 0, 10)
	require.NoError(t, err)
	require.Equal(t, []int64{2501}, batch.Offsets)
	require.Equal(t, int64(2501), batch.Min)
}

func TestRetentionRemovesOnlyWhatIsOldAndLeavesNoEntryBehind(t *testing.T) {
	ctx := context.Background()
	var skew atomic.Int64
	s := start(t, Options{
		Path: "mem", fs: vfs.NewMem(), Retention: time.Hour,
		now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
	})
	fill(t, s, 1500)
	skew.Add(int64(45 * time.Minute))
	for i := range 5 {
		_, err := put(s, fmt.Sprint(i))
		require.NoError(t, err)
	}
	skew.Add(int64(30 * time.Minute))
	require.NoError(t, s.expire())
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, readAll(t, s))
	b, err := s.ReadPartition(ctx, "T", store.Partition{Broker: Broker}, 0, 10)
	require.NoError(t, err)
	require.Equal(t, []int64{1500, 1501, 1502, 1503, 1504}, b.Offsets)
	require.Equal(t, map[byte]int{kindRecord: 5, kindIndex: 10}, s.countKeys(t, kindRecord, kindIndex))
}

// countKeys counts the live keys of each of the kinds.
func (s *Store) countKeys(t *testing.T, kinds ...byte) map[byte]int {
	t.Helper()
	got := map[byte]int{}
	for _, kind := range kinds {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
		require.NoError(t, err)
		for ok := it.First(); ok; ok = it.Next() {
			got[kind]++
		}
		require.NoError(t, it.Close())
	}
	return got
}

func TestADeletedTopicLeavesNothingBehindAndOtherTopicsAlone(t *testing.T) {
	ctx := context.Background()
	s := start(t, Options{Path: "mem", fs: vfs.NewMem()})
	fill(t, s, 2100)
	require.NoError(t, s.CreateTopic(ctx, "U", 1))
	done := make(chan error, 1)
	s.Append(ctx, store.Append{
		Message: &store.Message{Topic: "U/x", Payload: []byte("u")}, Topic: "U", Queues: []string{"U%x%", queueA.Queue},
	}, func(_ store.Position, err error) { done <- err })
	require.NoError(t, <-done)
	require.NoError(t, s.DeleteTopic(ctx, "T"))
	require.Equal(t, map[byte]int{kindRecord: 1, kindIndex: 3, kindTopic: 1}, s.countKeys(t, kindRecord, kindIndex, kindTopic))
	require.Equal(t, []string{"u"}, readAll(t, s))
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	p, err := put(s, "again")
	require.NoError(t, err)
	require.Equal(t, int64(2100), p.Offset, "offsets of a partition go on")
}

func TestRetentionBySizeKeepsTheNewest(t *testing.T) {
	s := start(t, Options{Path: t.TempDir(), Sync: SyncInterval, MaxBytes: 4 << 20, MinFree: -1})
	ctx := context.Background()
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	var wg sync.WaitGroup
	for i := range 600 {
		wg.Add(1)
		m := &store.Message{Topic: "T/a", Payload: []byte(incompressible(i, 32<<10))}
		s.Append(ctx, store.Append{Message: m, Topic: "T", Queues: []string{"T%a%"}}, func(_ store.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.expire())
	b, err := s.Bounds(ctx, queueA)
	require.NoError(t, err)
	require.Equal(t, int64(600), b.Max)
	require.Positive(t, b.Min)
	require.Less(t, b.Max-b.Min, int64(4<<20/(32<<10)+64))
	require.Greater(t, b.Max-b.Min, int64(4<<20/(32<<10)-64))
	batch, err := s.Read(ctx, queueA, b.Max-1, 1)
	require.NoError(t, err)
	require.Len(t, batch.Records, 1)
}

// incompressible returns n pseudo-random bytes that depend on the seed.
func incompressible(seed, n int) string {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

func TestQueuesThatTheCommitterForgotGoOnWhereTheyWere(t *testing.T) {
	ctx := context.Background()
	s, err := New(Options{Path: "mem", fs: vfs.NewMem(), Sync: SyncInterval})
	require.NoError(t, err)
	s.commits.remember = 1000
	require.NoError(t, s.Start(ctx))
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	const perRecord, records = 300, 10 // together more queues than the committer remembers
	for round := range 2 {
		for i := range records {
			queues := make([]string, perRecord)
			for q := range queues {
				queues[q] = "T%" + strconv.Itoa(i*perRecord+q) + "%"
			}
			done := make(chan error, 1)
			s.Append(ctx, store.Append{Message: &store.Message{Topic: "T/a"}, Topic: "T", Queues: queues},
				func(_ store.Position, err error) { done <- err })
			require.NoError(t, <-done)
		}
		for _, q := range []int{0, 299, 1234, perRecord*records - 1} {
			b, err := s.Bounds(ctx, store.QueueRef{Queue: "T%" + strconv.Itoa(q) + "%", Broker: Broker})
			require.NoError(t, err)
			require.Equal(t, store.Bounds{Min: 0, Max: int64(round + 1)}, b)
		}
	}
	require.NoError(t, s.Close()) // the committer's state may be read only after this
	require.LessOrEqual(t, len(s.commits.young)+len(s.commits.old), 2*(1000+perRecord+1))
}

func TestATailThatFellBehindRetentionGoesOnWithWhatIsLeft(t *testing.T) {
	ctx := context.Background()
	var skew atomic.Int64
	s := start(t, Options{
		Path: "mem", fs: vfs.NewMem(), Retention: time.Hour,
		now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
	})
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	release, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var got []string
	tail, err := s.Tail(ctx, "T", func(_ store.Partition, records []*store.Record) {
		once.Do(func() { close(entered) })
		<-release
		mu.Lock()
		defer mu.Unlock()
		for _, r := range records {
			got = append(got, strings.TrimSpace(string(r.Payload)))
		}
	})
	require.NoError(t, err)
	defer tail.Close()
	_, err = put(s, "first")
	require.NoError(t, err)
	<-entered
	fill(t, s, 3*tailRecords/2) // more than the tail keeps in memory
	skew.Add(int64(2 * time.Hour))
	_, err = put(s, "young")
	require.NoError(t, err)
	require.NoError(t, s.expire())
	close(release)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0 && got[len(got)-1] == "young"
	}, time.Minute, time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, "first", got[0])
	require.Less(t, len(got), tailRecords+3)
}

func TestAnUnknownBrokerIsAnError(t *testing.T) {
	ctx := context.Background()
	s := start(t, Options{Path: "mem", fs: vfs.NewMem()})
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	_, err := s.Read(ctx, store.QueueRef{Queue: "q", Broker: "other"}, 0, 1)
	require.ErrorContains(t, err, `"other"`)
	_, err = s.ReadPartition(ctx, "T", store.Partition{Broker: Broker, ID: 1}, 0, 1)
	require.Error(t, err)
	require.Error(t, s.Commit(ctx, "c", 1, []store.Offset{{QueueRef: store.QueueRef{Broker: "other"}}}))
}

func TestAppendsWaitForTheBudgetAndEndWithTheirContext(t *testing.T) {
	s := start(t, Options{Path: "mem", fs: vfs.NewMem()})
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	require.NoError(t, s.budget.Take(context.Background(), "", inFlightBytes))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	a := store.Append{Message: &store.Message{Topic: "T/a"}, Topic: "T", Queues: []string{queueA.Queue}}
	s.Append(ctx, a, func(_ store.Position, err error) { done <- err })
	require.ErrorIs(t, <-done, context.DeadlineExceeded)
	s.budget.Give(inFlightBytes)
	_, err := put(s, "1")
	require.NoError(t, err)
}

func TestADirectoryOfAnotherFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{Path: "mem", fs: fs})
	require.NoError(t, s.db.Set(keyFormat, []byte{0, 0, 0, 0, 0, 0, 0, 9}, pebble.Sync))
	require.NoError(t, s.Close())
	_, err := New(Options{Path: "mem", fs: fs})
	require.ErrorContains(t, err, "format 9")
}

func TestAnIdleStoreIsSmall(t *testing.T) {
	if os.Getenv(childFaults) != "" {
		t.Skip("only in the parent")
	}
	before := heap()
	s := start(t, Options{Path: t.TempDir(), Sync: SyncInterval, MinFree: -1, Log: slog.New(slog.DiscardHandler)})
	fill(t, s, 20_000)
	require.NoError(t, s.db.Flush())
	require.Eventually(t, func() bool { return heap()-before < 32<<20 }, time.Minute, 100*time.Millisecond,
		"more than 32 MiB stay on the heap after 20,000 records")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
