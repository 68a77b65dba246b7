package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []struct {
		name string
		sync SyncMode
	}{{"always", SyncAlways}, {"interval", SyncInterval}} {
		for _, inFlight := range []int{1, 256} {
			b.Run(fmt.Sprintf("sync=%s/inflight=%d", mode.name, inFlight), func(b *testing.B) {
				s := start(b, Options{Sync: mode.sync})
				require.NoError(b, s.CreateTopic(context.Background(), "T", 1))
				m := &store.Message{Topic: "T/a", Payload: []byte(strings.Repeat("x", 256)), QoS: 1, Publisher: "p"}
				queues := []string{"T%a%", "T%#%"}
				window := make(chan struct{}, inFlight)
				var wg sync.WaitGroup
				done := func(_ store.Position, err error) {
					if err != nil {
						b.Error(err)
					}
					<-window
					wg.Done()
				}
				ctx := context.Background()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					window <- struct{}{}
					wg.Add(1)
					s.Append(ctx, store.Append{Message: m, Topic: "T", Key: "p", Queues: queues}, done)
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64(merged(s))/float64(b.N), "merged-B/op")
			})
		}
	}
}

// merged returns how many bytes pebble has written again to merge its files.
func merged(s *Store) (bytes uint64) {
	for _, level := range s.db.Metrics().Levels {
		bytes += level.TableBytesCompacted
	}
	return bytes
}

func BenchmarkRead32(b *testing.B) {
	for _, from := range []string{"memory", "disk"} {
		b.Run(from, func(b *testing.B) {
			s := start(b, Options{Sync: SyncInterval})
			fill(b, s, 5000)
			var offset int64
			if from == "disk" {
				s.recent = recent{base: s.visible.Load()}
			}
			ctx, q := context.Background(), store.QueueRef{Queue: "T%a%", Broker: Broker}
			b.ReportAllocs()
			for b.Loop() {
				batch, err := s.Read(ctx, q, offset, 32)
				if err != nil || len(batch.Records) == 0 {
					b.Fatal(err, len(batch.Records))
				}
				if offset = batch.Next; offset > 4900 {
					offset = 0
				}
			}
			b.ReportMetric(32*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// fill appends n messages of 256 bytes to the queue T%a%.
func fill(t testing.TB, s *Store, n int) {
	ctx := context.Background()
	require.NoError(t, s.CreateTopic(ctx, "T", 1))
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		payload := fmt.Sprintf("%-256d", i)
		m := &store.Message{Topic: "T/a", Payload: []byte(payload), QoS: 1, Publisher: "p"}
		s.Append(ctx, store.Append{Message: m, Topic: "T", Key: "p", Queues: []string{"T%a%"}}, func(_ store.Position, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
}
