package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var topicCases = []testCase{
	{"a created topic is listed, described and writable at once", createTopic},
	{"creating a topic again leaves it as it is", createTwice},
	{"a deleted topic is unknown, and its name can be used again", deleteTopic},
	{"an unknown topic is reported as such", unknownTopic},
	{"a name that the store cannot hold is refused", invalidTopic},
	{"a topic call ends with its context", topicCancelled},
}

func createTopic(t *testing.T, s *suite) {
	name := s.newTopic(t)
	info, err := s.Topic(s.ctx, name)
	require.NoError(t, err)
	require.Equal(t, name, info.Name)
	require.Positive(t, info.Queues)
	require.NotEmpty(t, info.Brokers)
	require.True(t, slices.IsSorted(info.Brokers))
	brokers := s.brokers(t, name)
	slices.Sort(brokers)
	require.Equal(t, info.Brokers, brokers)
	all := s.brokers(t, "")
	for _, b := range brokers {
		require.Contains(t, all, b)
	}
	s.put(t, appendTo(message(name+"/x", "1")))
	topics, err := s.Topics(s.ctx)
	require.NoError(t, err)
	names := make([]string, len(topics))
	for i := range topics {
		names[i] = topics[i].Name
	}
	require.Contains(t, names, name)
	require.True(t, slices.IsSorted(names))
}

func createTwice(t *testing.T, s *suite) {
	name := s.newTopic(t)
	s.numbered(t, name+"/x", 2)
	require.NoError(t, s.CreateTopic(s.ctx, name, 8))
	require.Len(t, s.drain(t, name, topic.Queue(name+"/x"), 2, 32), 2)
}

func deleteTopic(t *testing.T, s *suite) {
	name, other := s.newTopic(t), s.newTopic(t)
	s.numbered(t, other+"/x", 2)
	s.numbered(t, name+"/x", 3)
	require.NoError(t, s.DeleteTopic(s.ctx, name))
	_, err := s.Topic(s.ctx, name)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, err = put(s.ctx, s.Store, appendTo(message(name+"/x", "late")))
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	topics, err := s.Topics(s.ctx)
	require.NoError(t, err)
	for _, info := range topics {
		require.NotEqual(t, name, info.Name)
	}
	require.NoError(t, s.DeleteTopic(s.ctx, name), "a topic that does not exist is no error")
	require.Len(t, s.drain(t, other, topic.Queue(other+"/x"), 2, 32), 2)

	require.NoError(t, s.CreateTopic(s.ctx, name, 4))
	c := s.tail(t, name)
	s.put(t, appendTo(message(name+"/x", "new")))
	require.Equal(t, []string{"new"}, payloads(c.wait(t, s, 1)))
}

func unknownTopic(t *testing.T, s *suite) {
	name := "st" + client()
	_, err := s.Topic(s.ctx, name)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, err = s.Brokers(s.ctx, name)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
}

func invalidTopic(t *testing.T, s *suite) {
	if s.InvalidTopic == "" {
		t.Skip("the factory names no invalid topic")
	}
	require.ErrorIs(t, s.ValidTopic(s.InvalidTopic), store.ErrInvalidTopic)
	own := store.OwnPrefix + "conformance"
	require.ErrorIs(t, s.ValidTopic(own), store.ErrInvalidTopic)
	require.NoError(t, s.CreateTopic(s.ctx, own, 1), "the gateway's own topics are made nonetheless")
	defer func() { require.NoError(t, s.DeleteTopic(s.ctx, own)) }()
	listed, err := s.Topics(s.ctx)
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(listed, func(i store.TopicInfo) bool { return i.Name == own }))
	require.ErrorIs(t, s.CreateTopic(s.ctx, s.InvalidTopic, 1), store.ErrInvalidTopic)
	require.NoError(t, s.ValidTopic(fmt.Sprintf("valid-%s", client())))
}

func topicCancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	require.ErrorIs(t, s.CreateTopic(ctx, "st"+client(), 1), context.Canceled)
	_, err := s.Topics(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
