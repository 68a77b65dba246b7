package local

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// crashed returns a store on what a crash leaves of the disk.
func crashed(t *testing.T, fs *vfs.MemFS) (*Store, *vfs.MemFS) {
	t.Helper()
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	s := start(t, Options{Path: "mem", Sync: SyncInterval, SyncInterval: time.Hour, fs: fs})
	return s, fs
}

var ta = store.QueueRef{Queue: "T%a%", Broker: Broker}

func TestWhatACrashTakesLeavesItsPlacesToNobody(t *testing.T) {
	ctx := context.Background()
	s, fs := crashed(t, vfs.NewCrashableMem())
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	seen := map[int64]string{}    // by place in the log
	offsets := map[int64]string{} // by offset in the queue
	newest := store.Position{Log: -1, Offset: -1}
	stored := func(payload string) {
		p, err := put(s, payload)
		require.NoError(t, err)
		require.Empty(t, seen[p.Log], "place %d", p.Log)
		require.Empty(t, offsets[p.Offset], "offset %d", p.Offset)
		require.Greater(t, p.Log, newest.Log)
		require.Greater(t, p.Offset, newest.Offset)
		seen[p.Log], offsets[p.Offset], newest = payload, payload, p
	}
	var left []string
	for round := range 4 {
		stored(fmt.Sprint(round, " first")) // reserves places: it is on the disk
		left = append(left, fmt.Sprint(round, " first"))
		for i := range 5 {
			stored(fmt.Sprint(round, " lost ", i))
		}
		before, err := s.Bounds(ctx, ta)
		require.NoError(t, err)
		s, fs = crashed(t, fs)
		if round == 2 { // another crash before anything is stored
			s, fs = crashed(t, fs)
		}
		require.Equal(t, left, readAll(t, s))
		batch, err := s.Read(ctx, ta, before.Max, 10)
		require.NoError(t, err)
		require.Empty(t, batch.Records)
		require.LessOrEqual(t, batch.Min, before.Max, "nothing expired")
		require.GreaterOrEqual(t, batch.Max, before.Max, "the queue did not begin anew")
		require.GreaterOrEqual(t, batch.Next, before.Max)
		again, err := s.Read(ctx, ta, batch.Next, 10)
		require.NoError(t, err)
		require.Empty(t, again.Records)
		require.Equal(t, batch.Next, again.Next, "there is nothing yet")
	}
}

func TestAReaderFromBeforeACrashMissesNothingAfterIt(t *testing.T) {
	ctx := context.Background()
	s, fs := crashed(t, vfs.NewCrashableMem())
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	for i := range 6 {
		_, err := put(s, fmt.Sprint("before ", i))
		require.NoError(t, err)
	}
	begin, err := s.Bounds(ctx, ta) // where a new subscription begins
	require.NoError(t, err)
	s, _ = crashed(t, fs)
	for i := range 8 { // more than were lost
		_, err := put(s, fmt.Sprint("after ", i))
		require.NoError(t, err)
	}
	batch, err := s.Read(ctx, ta, begin.Max, 100)
	require.NoError(t, err)
	require.Len(t, batch.Records, 8)
	require.Equal(t, "after 0", string(batch.Records[0].Payload))
	require.LessOrEqual(t, batch.Min, begin.Max)
}

func TestAStoreThatWasClosedHasNoGap(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	for round := range 3 {
		s, err := New(Options{Path: "mem", Sync: SyncInterval, fs: fs})
		require.NoError(t, err)
		require.NoError(t, s.Start(ctx))
		require.Empty(t, s.gaps)
		require.NoError(t, s.CreateTopic(ctx, "T", 1))
		p, err := put(s, "x")
		require.NoError(t, err)
		require.EqualValues(t, round, p.Log)
		require.EqualValues(t, round, p.Offset)
		require.NoError(t, s.Close())
	}
}

func TestAGroupGoesOnBehindAGap(t *testing.T) {
	ctx := context.Background()
	s, fs := crashed(t, vfs.NewCrashableMem())
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	g := store.Group{Name: "g", QueueRef: ta}
	require.NoError(t, s.PlaceGroup(ctx, g, 0))
	for i := range 3 {
		_, err := put(s, fmt.Sprint("before ", i))
		require.NoError(t, err)
	}
	s, _ = crashed(t, fs)
	_, err := put(s, "after")
	require.NoError(t, err)
	var got, receipts []string
	for len(got) < 2 {
		out, err := s.Pop(ctx, g, 10, time.Minute, time.Second)
		require.NoError(t, err)
		require.NotEmpty(t, out)
		for _, h := range out {
			got, receipts = append(got, string(h.Record.Payload)), append(receipts, h.Receipt)
		}
	}
	require.Equal(t, []string{"before 0", "after"}, got)
	require.NoError(t, s.PopAck(ctx, g, receipts))
	left, err := s.GroupLeft(ctx, g)
	require.NoError(t, err)
	require.Zero(t, left)
}

func TestGapsAddUpBehindAPlace(t *testing.T) {
	g := gaps{}.add(10, 5).add(15, 5).add(30, 2)
	require.Equal(t, gaps{{10, 10}, {30, 2}}, g)
	require.EqualValues(t, 12, g.behind(-1))
	require.EqualValues(t, 12, g.behind(9))
	require.EqualValues(t, 2, g.behind(20))
	require.EqualValues(t, 0, g.behind(32))
}

func TestPlacesThatComeSteadilyAreReservedByThePeriodicSyncs(t *testing.T) {
	s, _ := crashed(t, vfs.NewCrashableMem())
	for name, perSync := range map[string]int64{"few": 500, "some": 10_000, "many": 250_000} {
		t.Run(name, func(t *testing.T) {
			var r reservation
			next := int64(0)
			batch := s.db.NewBatch()
			defer func() { _ = batch.Close() }()
			forced := 0
			for second := range 20 {
				for n := int64(0); n < perSync; n += 500 {
					next += 500
					ahead, synced, err := r.reserve(next, batch)
					require.NoError(t, err)
					if ahead > 0 {
						r.written.Store(ahead)
						require.LessOrEqual(t, ahead-next, max(2*leastAhead, 4*perSync))
					}
					require.LessOrEqual(t, next, max(r.safe, r.synced.Load()), "what is given is reserved, on disk")
					if second > 3 && synced {
						forced++
					}
				}
				r.synced.Store(r.written.Load()) // the periodic sync
				r.recent.Store(perSync)
			}
			require.Zero(t, forced, "batches that are synced for the reservation")
		})
	}
}
