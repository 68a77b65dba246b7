package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/storetest"
	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

const queue = "T%a%"

// faulty returns a faulty store with n records, 0 to n-1, in the queue.
func faulty(t *testing.T, n int) *storetest.Faulty {
	t.Helper()
	s, err := local.New(local.Options{Path: t.TempDir(), Sync: local.SyncInterval})
	require.NoError(t, err)
	require.NoError(t, s.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.CreateTopic(context.Background(), "T", 1))
	f := storetest.NewFaulty(s)
	for i := range n {
		require.NoError(t, put(f, fmt.Sprint(i)))
	}
	return f
}

func put(s store.Store, payload string) error {
	done := make(chan error, 1)
	m := &store.Message{Topic: "T/a", Payload: []byte(payload)}
	s.Append(
		context.Background(),
		store.Append{Message: m, Topic: "T", Queues: []string{queue}},
		func(_ store.Position, err error) { done <- err },
	)
	return <-done
}

// seen is one record as a read returned it: its payload, the offset that the batch reports, and the offset that the record itself has for
// the queue.
type seen struct {
	payload      string
	at, claiming int64
}

func read(t *testing.T, s store.Store, perRead int) (all []seen, b store.Batch) {
	t.Helper()
	ref := store.QueueRef{Queue: queue, Broker: local.Broker}
	for offset := int64(0); ; {
		var err error
		b, err = s.Read(context.Background(), ref, offset, perRead)
		require.NoError(t, err)
		require.LessOrEqual(t, len(b.Records), perRead)
		for i, r := range b.Records {
			at, _ := r.Offset(queue)
			all = append(all, seen{string(r.Payload), b.Offsets[i], at})
		}
		bounds, err := s.Bounds(context.Background(), ref)
		require.NoError(t, err)
		require.Equal(t, store.Bounds{Min: b.Min, Max: b.Max}, bounds)
		if offset = b.Next; offset >= b.Max {
			return all, b
		}
	}
}

func TestFaultsAreShownAsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		set      func(*storetest.Faulty)
		want     []seen
		min, max int64
	}{
		"none":  {func(*storetest.Faulty) {}, []seen{{"0", 0, 0}, {"1", 1, 1}, {"2", 2, 2}, {"3", 3, 3}}, 0, 4},
		"gap":   {func(f *storetest.Faulty) { f.Gap(queue, 2, 10) }, []seen{{"0", 0, 0}, {"1", 1, 1}, {"2", 12, 12}, {"3", 13, 13}}, 0, 14},
		"twice": {func(f *storetest.Faulty) { f.Twice(queue, 1) }, []seen{{"0", 0, 0}, {"1", 1, 1}, {"1", 2, 1}, {"2", 3, 3}, {"3", 4, 4}}, 0, 5},
		"repeat": {
			func(f *storetest.Faulty) { f.Repeat(queue, 2) },
			[]seen{{"0", 0, 0}, {"1", 1, 1}, {"2", 2, 1}, {"3", 3, 3}}, 0, 4,
		},
		"reset":     {func(f *storetest.Faulty) { f.Reset(queue, 3) }, []seen{{"3", 0, 0}}, 0, 1},
		"reset all": {func(f *storetest.Faulty) { f.Reset(queue, 4) }, nil, 0, 0},
		"gap first": {func(f *storetest.Faulty) { f.Gap(queue, 0, 5) }, []seen{{"0", 5, 5}, {"1", 6, 6}, {"2", 7, 7}, {"3", 8, 8}}, 5, 9},
	} {
		t.Run(name, func(t *testing.T) {
			f := faulty(t, 4)
			c.set(f)
			for _, perRead := range []int{1, 2, 32} {
				got, last := read(t, f, perRead)
				require.Equal(t, c.want, got)
				require.Equal(t, c.min, last.Min)
				require.Equal(t, c.max, last.Max)
			}
		})
	}
}

func TestTailsShowTheSameFaultsAndMissWhatTheyAreToMiss(t *testing.T) {
	f := faulty(t, 2)
	f.Gap(queue, 4, 3)
	f.MissInTails("T", 2)
	var mu sync.Mutex
	var got []seen
	tail, err := f.Tail(context.Background(), "T", func(_ store.Partition, records []*store.Record) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range records {
			at, _ := r.Offset(queue)
			got = append(got, seen{string(r.Payload), r.Position.Offset, at})
		}
	})
	require.NoError(t, err)
	defer tail.Close()
	for i := 2; i < 6; i++ {
		require.NoError(t, put(f, fmt.Sprint(i)))
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= 2 }, time.Minute, time.Millisecond)
	require.Equal(t, []seen{{"4", 4, 7}, {"5", 5, 8}}, got)
}

func TestCallsFailAsAskedUntilToldOtherwise(t *testing.T) {
	f := faulty(t, 1)
	broken := errors.New("broken")
	f.FailAppends(broken)
	require.ErrorIs(t, put(f, "x"), broken)
	f.FailAppends(nil)
	require.NoError(t, put(f, "1"))
	f.FailReads(broken)
	_, err := f.Bounds(context.Background(), store.QueueRef{Queue: queue, Broker: local.Broker})
	require.ErrorIs(t, err, broken)
	f.FailReads(nil)
	f.FailCommits(broken)
	require.ErrorIs(t, f.Commit(context.Background(), "c", 1, nil), broken)
	f.FailCommits(nil)
	require.NoError(t, f.Commit(context.Background(), "c", 1, nil))
	got, _ := read(t, f, 32)
	require.Len(t, got, 2)
}
