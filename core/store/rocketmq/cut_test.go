package rocketmq

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// replicatedCluster returns a cluster of its own with a slave that the master does not wait for.
func replicatedCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	onOneVersion(t)
	version := cluster.Wanted(t)
	if cluster.Brief() {
		t.Skip("a test that kills brokers, which a brief run leaves out")
	}
	ctx, cancel := context.WithTimeout(t.Context(), cluster.StartDeadline)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Version: version, Role: "ASYNC_MASTER"})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

func TestIntegrationReadersGoBackToWhereAPromotedSlaveLacksRecords(t *testing.T) {
	c := replicatedCluster(t)
	s, sleeper := open(t, c), open(t, c) // the sleeper's store reads nothing until its mark comes from elsewhere
	topic := newTopic(t, s, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	require.NoError(t, c.AwaitTopics(ctx, 0, topic))
	refs := []store.QueueRef{{Queue: topic + "%a%", Broker: c.BrokerNames()[0]}, {Queue: topic + "%b%", Broker: c.BrokerNames()[0]}}
	put := func(n int, text string) {
		t.Helper()
		for i := range n {
			appendOne(t, s, store.Append{Message: message(topic+"/a", fmt.Sprint(text, i)), Topic: topic, Key: "k",
				Queues: []string{refs[0].Queue, refs[1].Queue}})
		}
	}
	var mu sync.Mutex
	var tailed []string
	tail, err := s.Tail(t.Context(), topic, func(_ store.Partition, records []*store.Record) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range records {
			tailed = append(tailed, string(r.Payload))
		}
	})
	require.NoError(t, err)
	defer tail.Close()
	read := func(s *Store, ref store.QueueRef, from int64, n int) (out []string, b store.Batch) {
		t.Helper()
		require.Eventually(t, func() bool {
			var err error
			if b, err = s.Read(ctx, ref, from, 32); err != nil || len(b.Records) == 0 {
				return false
			}
			for _, r := range b.Records {
				out = append(out, string(r.Payload))
			}
			from = b.Next
			return len(out) >= n
		}, patience, 20*time.Millisecond)
		return out, b
	}
	put(10, "both ")
	require.NoError(t, c.AwaitSlave(ctx, 0, topic, 1))
	read(s, refs[0], 0, 10)
	early := s.Mark(refs[0].Broker, 0)
	require.NoError(t, c.SignalSlave(0, syscall.SIGSTOP))
	time.Sleep(100 * time.Millisecond) // what is on its way to the slave
	put(10, "master ")
	_, b := read(s, refs[0], 0, 20)
	require.EqualValues(t, 20, b.Next)
	require.Zero(t, b.Cuts)
	late := s.Mark(refs[0].Broker, 0)
	require.NotEqual(t, early, late)
	require.NoError(t, c.Promote(ctx, 0))
	put(15, "slave ") // more than were lost: the offset that the reader had come to has another record now
	require.Eventually(t, func() bool {
		_, err := s.Read(ctx, refs[0], 20, 32)
		return err == nil && s.Cuts(refs[0].Broker) == 1
	}, patience, 20*time.Millisecond)
	for _, st := range []*Store{s, sleeper} {
		for _, ref := range refs {
			end, err := st.Bounds(ctx, ref)
			require.NoError(t, err)
			first := end.Max - 15 // of the new master's own
			require.GreaterOrEqual(t, first, int64(10))
			for _, next := range []int64{20, first + 1, first} {
				at, _, err := st.Resume(ctx, ref, next, late)
				require.NoError(t, err)
				require.Equal(t, first, at, "from %d", next)
			}
			for _, next := range []int64{0, 5, 10} {
				at, _, err := st.Resume(ctx, ref, next, late)
				require.NoError(t, err)
				require.Equal(t, next, at, "what the slave has was read")
				at, _, err = st.Resume(ctx, ref, next, early)
				require.NoError(t, err)
				require.Equal(t, next, at, "nothing was lost since the mark")
			}
			got, b := read(st, ref, first, 15)
			require.Equal(t, "slave 0", got[0])
			require.Equal(t, st.Cuts(ref.Broker), b.Cuts)
			require.Equal(t, b.Cuts, b.Records[0].Cuts)
		}
	}
	require.EqualValues(t, 1, s.Cuts(refs[0].Broker))
	require.Zero(t, sleeper.Cuts(refs[0].Broker), "it has read nothing that was lost")
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		seen := map[string]int{}
		for _, text := range tailed {
			seen[text]++
		}
		for i := range 15 {
			if seen[fmt.Sprint("slave ", i)] != 1 {
				return false
			}
		}
		return seen["both 0"] == 1
	}, patience, 20*time.Millisecond, "the tail goes back too")
}

func TestIntegrationABrokerThatIsKilledAndKeepsAllIsNotCut(t *testing.T) {
	c := harmedCluster(t)
	s := open(t, c)
	topic := newTopic(t, s, 1)
	ref := store.QueueRef{Queue: topic + "%a%", Broker: c.BrokerNames()[0]}
	appendOne(t, s, store.Append{Message: message(topic+"/a", "1"), Topic: topic, Key: "k", Queues: []string{ref.Queue}})
	readAll(t, s, ref.Queue, 1)
	mark := s.Mark(ref.Broker, 0)
	require.NotEmpty(t, mark)
	c.KillBroker(0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, c.RestartBroker(ctx, 0))
	require.Eventually(t, func() bool {
		b, err := s.Read(ctx, ref, 1, 1)
		return err == nil && b.Next == 1
	}, patience, 20*time.Millisecond)
	require.Zero(t, s.Cuts(ref.Broker))
	at, cuts, err := open(t, c).Resume(ctx, ref, 1, mark)
	require.NoError(t, err)
	require.EqualValues(t, 1, at)
	require.Zero(t, cuts)
}
