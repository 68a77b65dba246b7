package rocketmq

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// BenchmarkGroup compares two ways to share a queue between the members of a group on several nodes. Each does the least that it must do
// per message:
//
//   - pop: the broker hands messages out and records the acknowledgements, as Pop does, with one acknowledgement per message
//     or per batch;
//   - owner: one node reads the queue and hands ranges of offsets out through queues of the other nodes, which acknowledge
//     through a queue of the owner; the owner commits. Leases and redelivery are left out.
//
// reader is the cost of a subscription that is not shared. All of them read messages that are already stored:
//
//	LMQGATE_ROCKETMQ=5.4.0 go test ./core/store/rocketmq -run '^$' -bench Group -benchtime 20000x
func BenchmarkGroup(b *testing.B) {
	b.Run("reader", benchReader)
	b.Run("pop/ack=batch", func(b *testing.B) { benchPop(b, 32) })
	b.Run("pop/ack=each", func(b *testing.B) { benchPop(b, 1) })
	b.Run("owner", benchOwner)
}

// benchHidden is the visibility timeout of the messages.
const benchHidden = 5 * time.Second

// preload stores b.N messages in a queue and starts the timer.
func preload(b *testing.B) (*Store, string, store.QueueRef, func()) {
	c := sharedCluster(b)
	s := open(b, c)
	topic := newTopic(b, s, 1)
	ref := store.QueueRef{Queue: topic + "%a%", Broker: "broker-a"}
	var wg sync.WaitGroup
	for i := range b.N {
		wg.Add(1)
		m := &store.Message{Topic: topic + "/a", Payload: make([]byte, benchPayload), QoS: 1, Created: time.Now()}
		s.Append(b.Context(), store.Append{Message: m, Topic: topic, Key: strconv.Itoa(i), Queues: []string{ref.Queue}},
			func(store.Position, error) { wg.Done() })
	}
	wg.Wait()
	require.Eventually(b, func() bool {
		bounds, err := s.Bounds(b.Context(), ref)
		return err == nil && bounds.Max >= int64(b.N)
	}, time.Minute, 10*time.Millisecond)
	pids := c.PIDs()
	pid := pids[len(pids)-1]
	before := cpuTime(b, pid)
	b.ResetTimer()
	return s, topic, ref, func() {
		b.StopTimer()
		time.Sleep(3 * benchHidden) // the broker works on check points and acknowledgements once they have expired
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		b.ReportMetric(float64((cpuTime(b, pid)-before).Microseconds())/float64(b.N), "broker-µs/msg")
	}
}

// cpuTime returns the processor time that a process has used.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("no /proc")
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // at 100 ticks per second
}

func benchReader(b *testing.B) {
	s, _, ref, done := preload(b)
	defer done()
	for at := int64(0); at < int64(b.N); {
		batch, err := s.Read(b.Context(), ref, at, 32)
		require.NoError(b, err)
		at = batch.Next
	}
	require.NoError(b, s.Commit(b.Context(), "reader", 1, []store.Offset{{QueueRef: ref, Next: int64(b.N)}}))
}

func benchPop(b *testing.B, acks int) {
	s, _, ref, done := preload(b)
	defer done()
	g := store.Group{Name: "bench", QueueRef: ref}
	limit := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for n := 0; n < b.N; {
		out, err := s.Pop(b.Context(), g, remoting.MaxPop, benchHidden, time.Second)
		require.NoError(b, err)
		n += len(out)
		for len(out) > 0 {
			some := out[:min(acks, len(out))]
			out = out[len(some):]
			limit <- struct{}{}
			wg.Go(func() {
				receipts := make([]string, len(some))
				for i := range some {
					receipts[i] = some[i].Receipt
				}
				if err := s.PopAck(b.Context(), g, receipts); err != nil {
					b.Error(err)
				}
				<-limit
			})
		}
	}
	wg.Wait()
}

func benchOwner(b *testing.B) {
	s, topic, ref, done := preload(b)
	defer done()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	tell := func(queue, text string) {
		m := &store.Message{Topic: topic + "/x", Payload: []byte(text), QoS: 1, Created: time.Now()}
		_, err := appendWait(ctx, s, store.Append{Message: m, Topic: topic, Key: queue, Queues: []string{queue}})
		if err != nil && ctx.Err() == nil {
			b.Error(err)
		}
	}
	hear := func(queue string, f func(text string)) {
		t, err := s.TailQueue(ctx, queue, func(_ store.Partition, recs []*store.Record) {
			for _, r := range recs {
				f(string(r.Payload))
			}
		})
		require.NoError(b, err)
		b.Cleanup(t.Close)
	}
	acked := make(chan int64, 1024)
	hear("owner%", func(text string) {
		n, _ := strconv.ParseInt(text, 10, 64)
		acked <- n
	})
	hear("node%", func(text string) {
		first, end, _ := strings.Cut(text, "-")
		from, _ := strconv.ParseInt(first, 10, 64)
		to, _ := strconv.ParseInt(end, 10, 64)
		for at := from; at < to; {
			batch, err := s.Read(ctx, ref, at, int(to-at))
			if err != nil {
				return
			}
			at = batch.Next
		}
		go tell("owner%", strconv.FormatInt(to-from, 10))
	})
	limit := make(chan struct{}, 8)
	go func() {
		for at := int64(0); at < int64(b.N); {
			batch, err := s.Read(ctx, ref, at, 32) // the owner reads each message to check that it matches the filter
			if err != nil {
				return
			}
			from, to := at, batch.Next
			at = to
			limit <- struct{}{}
			go func() {
				tell("node%", fmt.Sprintf("%d-%d", from, to))
				<-limit
			}()
		}
	}()
	for n := int64(0); n < int64(b.N); {
		n += <-acked
		require.NoError(b, s.Commit(ctx, "owner", 1, []store.Offset{{QueueRef: ref, Next: n}}))
	}
}
