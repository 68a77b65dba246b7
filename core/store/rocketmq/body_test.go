package rocketmq

import (
	"bytes"
	"compress/zlib"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/testlog"
	"github.com/lmqgate/lmqgate/remoting"
)

// bodies returns messages with a body in each compressed form.
func bodies(t *testing.T, body []byte) map[string]remoting.Message {
	t.Helper()
	var z, l bytes.Buffer
	zw := zlib.NewWriter(&z)
	_, _ = zw.Write(body)
	require.NoError(t, zw.Close())
	lw := lz4.NewWriter(&l)
	_, _ = lw.Write(body)
	require.NoError(t, lw.Close())
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer enc.Close()
	return map[string]remoting.Message{
		"zlib": {SysFlag: 1 | 3<<8, Body: z.Bytes()}, "lz4": {SysFlag: 1 | 1<<8, Body: l.Bytes()}, "zstd": {SysFlag: 1 | 2<<8, Body: enc.EncodeAll(body, nil)},
	}
}

// closedStore returns a store without a cluster, for tests of decoding.
func closedStore(t *testing.T, log *slog.Logger) *Store {
	t.Helper()
	s, err := New(Options{Namesrv: []string{"127.0.0.1:1"}, Fallback: "fallback", Events: "happenings", Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// counted returns the sum of a counter over all labels.
func counted(t *testing.T, c prometheus.Collector) int {
	t.Helper()
	r := prometheus.NewRegistry()
	require.NoError(t, r.Register(c))
	families, err := r.Gather()
	require.NoError(t, err)
	n := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n += m.GetCounter().GetValue()
		}
	}
	return int(n)
}

// pulled returns the result of a pull of n messages of topic T, whose offsets in queue T%q% begin at from.
func pulled(from, n int64, m remoting.Message) pullAnswer {
	pull := &remoting.PullResult{Next: from + n, Max: from + n}
	for i := range n {
		at := from + i
		m.Topic, m.QueueOffset, m.LogOffset = "T", at, at
		props := remoting.AppendProperty(nil, propTopic, "T/q")
		props = remoting.AppendProperty(props, propDispatch, lmqPrefix+"T%q%")
		m.Properties = string(remoting.AppendProperty(props, propOffsets, strconv.FormatInt(at, 10)))
		pull.Messages = append(pull.Messages, m)
	}
	return pullAnswer{PullResult: pull}
}

func TestBodiesThatInflateToMoreThanAMessageAreSkippedCountedAndLoggedOnce(t *testing.T) {
	for codec, bomb := range bodies(t, make([]byte, 4<<20+1)) {
		t.Run(codec, func(t *testing.T) {
			var log testlog.Buffer
			s := closedStore(t, slog.New(slog.NewTextHandler(&log, nil)))
			pull := pulled(7, 6, bomb)
			good := pulled(13, 1, remoting.Message{Body: []byte("good")})
			pull.Messages, pull.Next = append(pull.Messages, good.Messages...), good.Next
			records, offsets, next := s.records("b", "T%q%", 7, pull, true)
			require.Len(t, records, 1)
			require.Equal(t, "good", string(records[0].Payload))
			require.Equal(t, []int64{13}, offsets)
			require.Equal(t, int64(14), next)
			require.Equal(t, 6, counted(t, s.metrics.broken))
			require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
			require.Contains(t, log.String(), "larger than a message may be")
			began := time.Now()
			for range 1000 {
				records, _, _ = s.records("b", "T%q%", 7, pull, true)
				require.Len(t, records, 1)
			}
			require.Less(t, time.Since(began), 20*time.Second, "a body that is known to be too large is not inflated again")
		})
	}
}

func TestAnAnswerIsInflatedUpToABudgetAndTheRestIsReadAgain(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 512<<10/16) // two of them reach the budget
	for codec, m := range bodies(t, body) {
		for _, queue := range []string{"T%q%", ""} {
			t.Run(codec+" "+queue, func(t *testing.T) {
				s := closedStore(t, nil)
				var offsets []int64
				for at := int64(0); at < 6; {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					records, found, next := s.records("b", queue, at, pulled(at, 6-at, m), true)
					runtime.ReadMemStats(&after)
					require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
					require.NotEmpty(t, records)
					require.LessOrEqual(t, len(records), 2)
					require.Greater(t, next, at)
					for _, r := range records {
						require.Equal(t, body, r.Payload)
					}
					offsets = append(offsets, found...)
					at = next
				}
				for i, at := range offsets {
					require.Equal(t, int64(i), at)
				}
				require.Len(t, offsets, 6)
			})
		}
	}
}

func TestABrokersMaximumCountsWhereItIsLarger(t *testing.T) {
	s := closedStore(t, nil)
	require.Equal(t, int64(4<<20), s.routes.maxMessage("b"))
	for told, want := range map[int64]int64{0: 4 << 20, 1 << 10: 4 << 20, 8 << 20: 8 << 20, 1 << 40: 64 << 20} {
		s.routes.cluster.Store(&clusterState{brokers: map[string]broker{"b": {settings: settings{told: true, maxMessage: told}}}})
		require.Equal(t, want, s.routes.maxMessage("b"), told)
	}
	s.routes.cluster.Store(&clusterState{brokers: map[string]broker{"b": {settings: settings{told: true, maxMessage: 8 << 20}}}})
	for codec, m := range bodies(t, make([]byte, 5<<20)) {
		_, ok := s.body("b", &m)
		require.True(t, ok, codec)
		_, ok = s.body("another", &m)
		require.False(t, ok, codec)
	}
}

func TestAPopAsksForAsManyRecordsAsFitTheBudget(t *testing.T) {
	handed := func(n, bytes int) []store.Handout {
		out := make([]store.Handout, n)
		for i := range out {
			out[i].Record = &store.Record{Message: store.Message{Payload: make([]byte, bytes)}}
		}
		return out
	}
	h := &hint{}
	require.Equal(t, 20, h.room(20))
	h.sized(handed(2, 512<<10))
	require.Equal(t, 2, h.room(20))
	require.Equal(t, 1, h.room(1))
	h.sized(nil)
	require.Equal(t, 2, h.room(20), "nothing says nothing")
	h.sized(handed(1, 4<<20))
	require.Equal(t, 1, h.room(20), "one is always asked for")
	h.sized(handed(1, 100))
	require.Equal(t, 20, h.room(20))
}
