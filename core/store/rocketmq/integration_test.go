package rocketmq

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

func TestIntegrationAMessageIsReadFromItsQueuesAndTheTail(t *testing.T) {
	t.Parallel()
	s := open(t, sharedCluster(t))
	topic := newTopic(t, s, 4)
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	m := &store.Message{
		Topic: topic + "/a", Payload: []byte("hello"), QoS: 2, Retain: true, Publisher: "dev@1",
		Created: time.UnixMilli(1700000000123), Expires: time.UnixMilli(1900000000456),
		Properties: &store.Properties{
			PayloadFormat: 1, HasFormat: true, ContentType: "text/plain", ResponseTopic: "r/\x01\x02",
			CorrelationData: []byte{0, 1, 2}, User: []store.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "\x02"}},
		},
	}
	queues := []string{topic + "%a%", topic + "%+%"}
	p := appendOne(t, s, store.Append{Message: m, Topic: topic, Key: "dev", Queues: queues})
	require.Equal(t, "broker-a", p.Broker)
	for _, q := range queues {
		got := readAll(t, s, q, 1)
		require.Len(t, got, 1)
		require.Equal(t, *m, got[0].Message)
		require.Equal(t, p, got[0].Position)
		require.Equal(t, []store.Entry{{Queue: queues[0]}, {Queue: queues[1]}}, got[0].Entries)
	}
	got := tail.await(t, 1)
	require.Equal(t, *m, got[0].Message)
	require.Len(t, got[0].ID, 32)
}

func TestIntegrationOffsetsOfAClientAreKeptUntilForgotten(t *testing.T) {
	t.Parallel()
	s := open(t, sharedCluster(t))
	topic := newTopic(t, s, 1)
	q := topic + "%a%"
	for i := range 3 {
		appendOne(t, s, store.Append{Message: message(topic+"/a", fmt.Sprint(i)), Topic: topic, Key: "k", Queues: []string{q}})
	}
	readAll(t, s, q, 3)
	ref := store.QueueRef{Queue: q, Broker: "broker-a"}
	b, err := s.Bounds(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, store.Bounds{Min: 0, Max: 3}, b)

	client := topic + "@client"
	got, err := s.Committed(t.Context(), client, []store.QueueRef{ref})
	require.NoError(t, err)
	require.Empty(t, got, "a queue that is not committed has no offset, although its first record is in memory")
	require.NoError(t, s.Commit(t.Context(), client, 5, []store.Offset{{QueueRef: ref, Next: 2}}))
	got, err = s.Committed(t.Context(), client, []store.QueueRef{ref})
	require.NoError(t, err)
	require.Equal(t, []store.Offset{{QueueRef: ref, Next: 2}}, got)
	require.ErrorIs(t, s.Commit(t.Context(), client, 4, []store.Offset{{QueueRef: ref, Next: 1}}), store.ErrStaleEpoch)
	require.NoError(t, s.Commit(t.Context(), client, 5, []store.Offset{{QueueRef: ref, Next: 0}}))
	got, err = s.Committed(t.Context(), client, []store.QueueRef{ref})
	require.NoError(t, err)
	require.Equal(t, []store.Offset{{QueueRef: ref, Next: 0}}, got)
	require.NoError(t, s.Forget(t.Context(), client, []store.QueueRef{ref}))
	got, err = s.Committed(t.Context(), client, []store.QueueRef{ref})
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestIntegrationADispatchSetOfTwoThousandQueuesArrivesWhole(t *testing.T) {
	t.Parallel()
	s := open(t, sharedCluster(t))
	topic := newTopic(t, s, 4)
	var tail collector
	tl, err := s.Tail(t.Context(), topic, tail.take)
	require.NoError(t, err)
	defer tl.Close()
	queues := make([]string, 2000)
	for i := range queues {
		queues[i] = fmt.Sprintf("%s%%+%%%04d%%some%%longer%%filter%%#%%", topic, i)
	}
	m := message(topic+"/a", "all")
	appendOne(t, s, store.Append{Message: m, Topic: topic, Key: "k", Queues: queues})
	got := tail.await(t, 1)
	require.True(t, got[0].Partial)
	for _, q := range []string{queues[0], queues[1000], queues[1999]} {
		r := readAll(t, s, q, 1)
		require.Len(t, r, 1)
		require.Equal(t, got[0].ID, r[0].ID)
		require.Equal(t, m.Topic, r[0].Topic)
		require.Equal(t, m.Payload, r[0].Payload)
	}
	// The broker indexes the parts of the record one after another, and not in the order of the queues.
	for _, q := range queues {
		entries := func() int64 {
			b, err := s.Bounds(t.Context(), store.QueueRef{Queue: q, Broker: "broker-a"})
			require.NoError(t, err)
			return b.Max
		}
		n := entries()
		for until := time.Now().Add(patience); n == 0 && time.Now().Before(until); n = entries() {
			time.Sleep(10 * time.Millisecond)
		}
		require.EqualValues(t, 1, n, "entries of queue %q", q)
	}
	appendOne(t, s, store.Append{Message: message(topic+"/b", "next"), Topic: topic, Key: "k"})
	require.Len(t, tail.await(t, 2), 2, "follow-ups are in nobody's tail")
}

func TestIntegrationTopicsAreCreatedListedAndDeleted(t *testing.T) {
	t.Parallel()
	s := open(t, sharedCluster(t))
	name := newTopic(t, s, 4)
	info, err := s.Topic(t.Context(), name)
	require.NoError(t, err)
	queues := 4
	if s.Limits().SingleFeeder {
		queues = 1
	}
	require.Equal(t, store.TopicInfo{Name: name, Queues: queues, Brokers: []string{"broker-a"}}, info)
	require.NoError(t, s.CreateTopic(t.Context(), name, 7))
	all, err := s.Topics(t.Context())
	require.NoError(t, err)
	require.Contains(t, all, info)
	for _, i := range all {
		require.NoError(t, s.ValidTopic(i.Name))
		require.NotContains(t, []string{"broker-a", "lmqgate-test"}, i.Name)
	}
	require.NoError(t, s.DeleteTopic(t.Context(), name))
	require.NoError(t, s.DeleteTopic(t.Context(), name))
	_, err = s.Topic(t.Context(), name)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, err = appendWait(t.Context(), s, store.Append{Message: message(name, "x"), Topic: name, Key: "k"})
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, err = s.Tail(t.Context(), name, func(store.Partition, []*store.Record) {})
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

func TestIntegrationATailLearnsFromTheBrokerWhatAnotherNodeHasStored(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s, other := open(t, c), open(t, c)
	topic := newTopic(t, s, 2)
	tail, err := s.Tail(t.Context(), topic, func(store.Partition, []*store.Record) {})
	require.NoError(t, err)
	t.Cleanup(tail.Close)
	at := appendOne(t, other, store.Append{Message: &store.Message{Topic: topic + "/a", Payload: []byte("m")}, Topic: topic, Key: "k"})
	end := func(ask func(f func(p store.Partition, begin, end int64))) (of int64) {
		ask(func(p store.Partition, _, end int64) {
			if (p == store.Partition{Broker: at.Broker, ID: at.Partition}) {
				of = end
			}
		})
		return of
	}
	require.Zero(t, end(tail.Ends), "this node has stored nothing")
	require.Eventually(t, func() bool {
		return end(func(f func(p store.Partition, begin, end int64)) { tail.Latest(t.Context(), f) }) == at.Offset+1
	}, patience, 10*time.Millisecond, "the broker's index has it within moments")
}
