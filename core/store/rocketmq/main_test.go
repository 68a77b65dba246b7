package rocketmq

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/leftover"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// shared is the cluster of the tests that do no harm to it. The first such test starts it.
var shared struct {
	once sync.Once
	c    *cluster.Cluster
	err  error
}

// harmed is the cluster of the tests that kill its broker. One test uses it at a time, and leaves the broker running.
var harmed struct {
	mu sync.Mutex
	c  *cluster.Cluster // nil if there is none, or if a test failed and left it in an unknown state
}

func TestMain(m *testing.M) {
	if err := choose(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	shared.c.Stop()
	harmed.c.Stop()
	if code == 0 {
		if err := leftover.Find(producerLeaks...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// choose sets go test's flags -run and -parallel if they are not given. A run for an additional version of RocketMQ omits unit tests.
// Tests on a RocketMQ mostly wait for it, so more of them run concurrently than there are processors.
func choose() error {
	if cluster.VersionRun() {
		if err := cluster.SetFlag("test.run", "^TestIntegration"); err != nil {
			return err
		}
	}
	if os.Getenv(cluster.EnvVersion) == "" {
		return nil
	}
	return cluster.SetFlag("test.parallel", "4")
}

// onOneVersion skips a test in a run for an additional version, because its outcome cannot depend on the version.
func onOneVersion(t *testing.T) {
	t.Helper()
	if cluster.VersionRun() {
		t.Skip("its outcome does not depend on the version of RocketMQ")
	}
}

// producerLeaks are goroutines that rocketmq-client-go leaves running after the shutdown of a producer: some for a few seconds, some for
// ever (connections to name servers, caches of the package).
var producerLeaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/primitive.WithRecover"),
	goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
	// A consumer's pulls cannot be cancelled; brokers hold them for up to 20 s.
	goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/consumer.(*pushConsumer).pullMessage"),
}

// sharedCluster returns the shared cluster, which has one broker of the wanted version.
func sharedCluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	version := cluster.Wanted(t)
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cluster.StartDeadline)
		defer cancel()
		measures := flag.Lookup("test.bench").Value.String() != ""
		shared.c, shared.err = cluster.Start(ctx, cluster.Options{Version: version, Optimized: measures})
	})
	require.NoError(t, shared.err)
	return shared.c
}

// harmedCluster returns a cluster with one broker, which the test may kill and restart. The test has the cluster to itself until it ends.
// The broker writes committed offsets to disk five times a second.
func harmedCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	version := cluster.Wanted(t)
	if cluster.Brief() {
		t.Skip("a test that kills brokers, which a brief run leaves out")
	}
	harmed.mu.Lock()
	t.Cleanup(func() {
		if t.Failed() {
			harmed.c.Stop()
			harmed.c = nil
		}
		harmed.mu.Unlock()
	})
	if harmed.c == nil {
		ctx, cancel := context.WithTimeout(t.Context(), cluster.StartDeadline)
		defer cancel()
		c, err := cluster.Start(ctx, cluster.Options{Version: version, Broker: map[string]string{"flushConsumerOffsetInterval": "200"}})
		require.NoError(t, err)
		harmed.c = c
	}
	return harmed.c
}

func testLog(t testing.TB) *slog.Logger {
	level := slog.LevelInfo
	if os.Getenv("LMQGATE_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

// open starts a store on a cluster and waits until it is ready. What a busy broker does not confirm in time is stored twice, and other
// requests fail, so the store is patient.
func open(t testing.TB, c *cluster.Cluster) *Store {
	t.Helper()
	return openWith(t, Options{Namesrv: c.Namesrv(), SendTimeout: 30 * time.Second, RequestTimeout: 30 * time.Second})
}

func openWith(t testing.TB, o Options) *Store {
	t.Helper()
	o.NodeID, o.Log = "test", testLog(t)
	s, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Start(t.Context()))
	require.Eventually(t, func() bool { return s.Ready(t.Context()) == nil }, patience, 20*time.Millisecond)
	return s
}

var topicNumber atomic.Int64

// newTopic creates a topic that no other test uses.
func newTopic(t testing.TB, s *Store, queues int) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%d", time.Now().UnixNano(), topicNumber.Add(1))
	require.NoError(t, s.CreateTopic(t.Context(), name, queues))
	return name
}

// appendOne stores a message and waits for the result.
func appendOne(t testing.TB, s *Store, a store.Append) store.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := appendWait(ctx, s, a)
	require.NoError(t, err)
	return p
}

func appendWait(ctx context.Context, s *Store, a store.Append) (store.Position, error) {
	type answer struct {
		p   store.Position
		err error
	}
	done := make(chan answer, 1)
	s.Append(ctx, a, func(p store.Position, err error) { done <- answer{p, err} })
	got := <-done
	return got.p, got.err
}

// readAll reads a queue on all brokers from the beginning until it has n records.
func readAll(t testing.TB, s *Store, queue string, n int) []*store.Record {
	t.Helper()
	var out []*store.Record
	require.Eventually(t, func() bool {
		out = out[:0]
		brokers, err := s.Brokers(t.Context(), "")
		if err != nil {
			return false
		}
		for _, b := range brokers {
			for next := int64(0); ; {
				batch, err := s.Read(t.Context(), store.QueueRef{Queue: queue, Broker: b}, next, 100)
				if err != nil || len(batch.Records) == 0 && batch.Next == next {
					break
				}
				out = append(out, batch.Records...)
				next = batch.Next
			}
		}
		return len(out) >= n
	}, patience, 20*time.Millisecond, "queue %q: %d of %d records", queue, len(out), n)
	return out
}

// collector collects the records that a tail delivers.
type collector struct {
	mu      sync.Mutex
	records []*store.Record
}

func (c *collector) take(_ store.Partition, records []*store.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, records...)
}

func (c *collector) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.records)
}

func (c *collector) await(t testing.TB, n int) []*store.Record {
	t.Helper()
	require.Eventually(t, func() bool { return c.len() >= n }, patience, 10*time.Millisecond, "want %d records", n)
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*store.Record(nil), c.records...)
}

func message(topic, payload string) *store.Message {
	return &store.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Created: time.Now()}
}
