package rocketmq

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// patience is how long a test waits for a condition: a broker starts slowly on a busy machine.
const patience = 3 * time.Minute

// load appends numbered messages until it is stopped, one in flight per key. It records which messages are acknowledged.
type load struct {
	mu    sync.Mutex
	acked map[string]bool
	count atomic.Int64
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func startLoad(t *testing.T, s *Store, topic, queue string, keys int) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{acked: make(map[string]bool), stop: cancel}
	for k := range keys {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				payload := fmt.Sprintf("%d/%d", k, i)
				send, done := context.WithTimeout(t.Context(), patience)
				_, err := appendWait(send, s, store.Append{
					Message: message(topic+"/a", payload), Topic: topic, Key: fmt.Sprint(k), Queues: []string{queue},
				})
				done()
				if err != nil {
					t.Errorf("append %s: %v", payload, err)
					return
				}
				l.mu.Lock()
				l.acked[payload] = true
				l.mu.Unlock()
				l.count.Add(1)
				time.Sleep(10 * time.Millisecond) // a moderate load, which leaves processor time for brokers that start
			}
		})
	}
	return l
}

func (l *load) awaitMore(t *testing.T, n int64) {
	t.Helper()
	from := l.count.Load()
	require.Eventually(t, func() bool { return l.count.Load() >= from+n }, patience, 10*time.Millisecond)
}

// finish ends the load and returns the acknowledged messages.
func (l *load) finish() map[string]bool {
	l.stop()
	l.wg.Wait()
	return l.acked
}

// requireAll checks that all acknowledged messages are among the records, that those of each key are in order apart from repetitions, and
// that no record came twice.
func requireAll(t *testing.T, acked map[string]bool, records []*store.Record) {
	t.Helper()
	last, places, ids := map[string]int{}, map[string]bool{}, map[string]bool{}
	for _, r := range records {
		place := fmt.Sprintf("%s@%d", r.Position.Broker, r.Position.Log)
		require.False(t, places[place], "record %s came twice", place)
		places[place] = true
		delete(acked, string(r.Payload))
		if ids[r.ID] {
			continue // stored again after a failure
		}
		ids[r.ID] = true
		key, number, _ := strings.Cut(string(r.Payload), "/")
		var n int
		_, _ = fmt.Sscan(number, &n)
		if was, ok := last[key]; ok {
			require.Greater(t, n, was, "key %s", key)
		}
		last[key] = n
	}
	require.Empty(t, acked, "acknowledged, but not read")
}

func TestIntegrationNothingAcknowledgedIsLostWhenTheOnlyBrokerIsKilled(t *testing.T) {
	c := harmedCluster(t)
	s := open(t, c)
	topic := newTopic(t, s, 4)
	queue := topic + "%a%"
	var tail, queueTail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	ql, err := s.TailQueue(t.Context(), queue, queueTail.take)
	require.NoError(t, err)
	defer ql.Close()
	l := startLoad(t, s, topic, queue, 16)
	l.awaitMore(t, 200)
	for range 2 {
		c.KillBroker(0)
		require.NoError(t, c.RestartBroker(t.Context(), 0))
		back := time.Now()
		l.awaitMore(t, 200)
		t.Logf("200 appends %v after the broker was back", time.Since(back).Round(time.Millisecond))
	}
	acked := l.finish()
	n := len(acked)
	records := tail.await(t, n)
	// The tail also counts records that were stored without an acknowledgement. Wait for the acknowledged ones.
	tail.awaitAll(t, acked)
	require.Eventually(t, func() bool { return queueTail.len() == tail.len() }, patience, 50*time.Millisecond,
		"the tail of the queue has all records of the topic's tail")
	t.Logf("%d acknowledged, %d in the tail", n, len(records))
	requireAll(t, acked, tail.await(t, n))
	read := map[string]bool{}
	for _, r := range readAll(t, s, queue, n) {
		read[string(r.Payload)] = true
	}
	require.GreaterOrEqual(t, len(read), n)
}

func TestIntegrationAppendsGoToTheOtherBrokersWhileOneIsDown(t *testing.T) {
	t.Parallel()
	c := cluster.ForTest(t, cluster.Options{Brokers: 2})
	s := openWith(t, Options{Namesrv: c.Namesrv()})
	topic := newTopic(t, s, 2)
	queue := topic + "%a%"
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	l := startLoad(t, s, topic, queue, 16)
	l.awaitMore(t, 200)
	c.KillBroker(0)
	dead := time.Now()
	l.awaitMore(t, 500)
	t.Logf("500 appends %v after the broker died", time.Since(dead).Round(time.Millisecond))
	require.NoError(t, c.RestartBroker(t.Context(), 0))
	l.awaitMore(t, 200)
	require.NoError(t, c.SignalBroker(1, syscall.SIGSTOP)) // the broker hangs with its connections open
	hung := time.Now()
	l.awaitMore(t, 500)
	t.Logf("500 appends %v after the broker hung", time.Since(hung).Round(time.Millisecond))
	require.NoError(t, c.SignalBroker(1, syscall.SIGCONT))
	l.awaitMore(t, 200)
	acked := l.finish()
	n := len(acked)
	tail.awaitAll(t, acked)
	t.Logf("%d acknowledged, %d in the tail", n, tail.len())
}

// awaitAll waits until a tail has delivered everything that was acknowledged. It may also deliver what was stored without an
// acknowledgement.
func (c *collector) awaitAll(t *testing.T, acked map[string]bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		have := map[string]bool{}
		for _, r := range c.await(t, len(acked)) {
			have[string(r.Payload)] = true
		}
		for payload := range acked {
			if !have[payload] {
				return false
			}
		}
		return true
	}, patience, 50*time.Millisecond, "everything acknowledged is in the tail")
}

func TestIntegrationAStoreThatStartsBeforeRocketMQWaitsForIt(t *testing.T) {
	onOneVersion(t)
	c := harmedCluster(t)
	c.KillBroker(0)
	c.KillNamesrv(0)
	s, err := New(Options{Namesrv: c.Namesrv(), Log: testLog(t)})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Start(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, s.Ready(ctx))
	_, err = appendWait(ctx, s, store.Append{Message: message("T", "x"), Topic: "T", Key: "k"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = s.Topic(t.Context(), "T")
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NoError(t, c.RestartNamesrv(t.Context(), 0))
	require.NoError(t, c.RestartBroker(t.Context(), 0))
	require.Eventually(t, func() bool { return s.Ready(t.Context()) == nil }, patience, 50*time.Millisecond)
	topic := newTopic(t, s, 1)
	appendOne(t, s, store.Append{Message: message(topic, "x"), Topic: topic, Key: "k"})
}

func TestIntegrationTailsGoOnSoonAfterABrokerIsBack(t *testing.T) {
	c := harmedCluster(t)
	s, other := open(t, c), open(t, c)
	topic := newTopic(t, s, 2)
	queue := topic + "%a%"
	var tail, queued collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	tq, err := s.TailQueue(t.Context(), queue, queued.take)
	require.NoError(t, err)
	defer tq.Close()
	put := func(n int) {
		for i := range n {
			appendOne(t, other, store.Append{
				Message: message(topic+"/a", fmt.Sprint(i)), Topic: topic, Key: fmt.Sprint(i), Queues: []string{queue},
			})
		}
	}
	put(10)
	tail.await(t, 10)
	queued.await(t, 10)
	c.KillBroker(0)
	require.Eventually(t, s.breaks.any.Load, patience, 10*time.Millisecond, "the tails have noticed")
	require.NoError(t, c.RestartBroker(t.Context(), 0))
	back := time.Now()
	put(10)
	t.Logf("publishing goes on %v after the broker is back", time.Since(back))
	published := time.Now()
	tail.await(t, 20)
	t.Logf("the topic's tail goes on %v after the broker is back", time.Since(back))
	queued.await(t, 20)
	t.Logf("the queue's tail goes on %v after the broker is back", time.Since(back))
	require.Less(t, time.Since(published), 12*time.Second)
}
