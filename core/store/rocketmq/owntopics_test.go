package rocketmq

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestIntegrationAPromotedSlaveGetsTheGatewaysTopicsThatItLacks(t *testing.T) {
	c := replicatedCluster(t)
	s := open(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	require.NoError(t, c.AwaitTopics(ctx, 0, cluster.ProbeTopic))
	require.NoError(t, c.SignalSlave(0, syscall.SIGSTOP))
	own := store.OwnPrefix + "test"
	require.NoError(t, s.CreateTopic(ctx, own, 2))
	put := func() error {
		_, err := appendWait(ctx, s, store.Append{Message: message(own, "x"), Topic: own, Key: "k"})
		return err
	}
	require.NoError(t, put())
	require.NoError(t, c.Promote(ctx, 0))
	require.NoError(t, put(), "nobody has to make the topic")
	info, err := s.Topic(ctx, own)
	require.NoError(t, err)
	require.Equal(t, 2, info.Queues)
	require.NoError(t, s.DeleteTopic(ctx, own))
	require.ErrorIs(t, put(), store.ErrUnknownTopic, "what somebody has deleted stays so")
}
