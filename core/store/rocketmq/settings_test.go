package rocketmq

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/internal/testlog"
	"github.com/lmqgate/lmqgate/remoting"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

func TestABrokerWithoutLightMessageQueuesIsToldWithTheRemedy(t *testing.T) {
	on := settings{told: true, lmq: true, dispatch: true}
	require.Empty(t, on.missing("b"))
	require.Empty(t, settings{}.missing("b"), "a broker that does not tell")
	for _, s := range []settings{{told: true}, {told: true, lmq: true}, {told: true, dispatch: true}} {
		what := s.missing("b-1")
		for _, word := range []string{"enableLmq", "enableMultiDispatch", `"b-1"`, "restart"} {
			require.Contains(t, what, word)
		}
	}
	require.Contains(t, settings{told: true, file: "/etc/broker.conf"}.missing("b"), "/etc/broker.conf")
	require.True(t, enabled(map[string]string{}, "enableLmq"), "versions without the setting decide for themselves")
}

func TestARefusedQueueIsNoUnknownTopic(t *testing.T) {
	var log testlog.Buffer
	s := closedStore(t, slog.New(slog.NewTextHandler(&log, nil)))
	refusal := func(code int) error {
		return fmt.Errorf("asked: %w", &remoting.Error{Code: code, Remark: "%LMQ%T not exist"})
	}
	for _, code := range []int{remoting.TopicNotExist, remoting.GroupNotExist} {
		err := brokerError("b", s.refusesQueues("b", refusal(code)))
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.NotErrorIs(t, err, store.ErrUnknownTopic)
		require.ErrorContains(t, err, "enableLmq")
		require.ErrorContains(t, err, "enableMultiDispatch")
		require.Equal(t, "b", store.BrokerOf(err))
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.NoError(t, s.refusesQueues("b", nil))
	other := refusal(remoting.SystemBusy)
	require.Equal(t, other, s.refusesQueues("b", other))
}

func TestATopicWithTooManyQueuesIsRefusedByName(t *testing.T) {
	queues := func(read, write, brokers int) *remoting.Route {
		r := &remoting.Route{}
		for i := range brokers {
			r.Queues = append(r.Queues, remoting.QueueData{BrokerName: fmt.Sprint("b", i), ReadQueues: read, WriteQueues: write})
		}
		return r
	}
	require.NoError(t, checkQueues("T", queues(1024, 1024, 16)))
	require.NoError(t, checkQueues("T", queues(-1, -1, 1)))
	for name, r := range map[string]*remoting.Route{
		"to read": queues(1025, 4, 1), "to write": queues(4, 1025, 1), "all there are": queues(math.MaxInt32, math.MaxInt32, 1),
		"many brokers": queues(1024, 1024, 17),
	} {
		err := checkQueues("T", r)
		require.ErrorIs(t, err, store.ErrInvalidTopic, name)
		require.ErrorContains(t, err, `"T"`, name)
	}
}

func TestABrokerThatIsNotRegisteredIsLookedForWhereItWasLast(t *testing.T) {
	s := closedStore(t, nil)
	before := &clusterState{brokers: map[string]broker{"b": {addr: "127.0.0.1:2", version: remoting.Version5_4_0}}, names: []string{"b"}, at: time.Now()}
	before.remember(nil)
	gone := &clusterState{brokers: map[string]broker{}, at: time.Now()}
	gone.remember(before)
	s.routes.cluster.Store(gone)
	addr, err := s.routes.address(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:2", addr)
	gone.at = time.Time{} // so that the name servers are asked again, which do not answer
	addr, err = s.routes.address(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:2", addr)
	_, err = s.routes.address(t.Context(), "never seen")
	require.ErrorIs(t, err, store.ErrUnavailable)
}

func TestKeysStayInTheirQueuesWhileABrokerComesBack(t *testing.T) {
	const at, elsewhere = "127.0.0.1:2", "127.0.0.1:3"
	state := func(before *clusterState, brokers map[string]broker) *clusterState {
		st := &clusterState{brokers: brokers, at: time.Now()}
		for name := range brokers {
			st.names = append(st.names, name)
		}
		st.remember(before)
		return st
	}
	for version, queues := range map[int]int{remoting.Version5_4_0: 4, remoting.Version5_2_0 - 1: 1} {
		up := state(nil, map[string]broker{"b": {addr: at, version: version}})
		away := state(up, map[string]broker{})
		for name, st := range map[string]*clusterState{
			"up": up, "away": away, "away for long": state(away, map[string]broker{}),
			"silent": state(away, map[string]broker{"b": {addr: at}}), "silent elsewhere": state(away, map[string]broker{"b": {addr: elsewhere}}),
		} {
			rt := newRoute(&remoting.Route{
				Brokers: []remoting.BrokerData{{Name: "b", Addresses: map[string]string{remoting.MasterID: at}}},
				Queues:  []remoting.QueueData{{BrokerName: "b", ReadQueues: 4, WriteQueues: 4, Perm: 6}},
			}, st)
			require.Len(t, rt.writable, queues, "%s, version %d", name, version)
			require.Len(t, rt.readable, 4, name)
		}
	}
	require.True(t, state(nil, map[string]broker{"b": {addr: at}}).singleFeeder("b"), "a broker that never told")
	require.True(t, state(nil, nil).singleFeeder("b"), "a broker that was never there")
}

func TestTailsThatWaitForABrokerHearWhenItAnswersSomebody(t *testing.T) {
	b := breaks{log: slog.New(slog.DiscardHandler)}
	b.back("b") // nobody waits for it
	require.Nil(t, b.waiter("b"))
	b.begin("b", context.DeadlineExceeded)
	b.begin("b", context.DeadlineExceeded)
	first, other := b.waiter("b"), b.waiter("c")
	require.Nil(t, other)
	b.back("c")
	require.NotNil(t, first)
	select {
	case <-first:
		t.Fatal("the broker has not answered")
	default:
	}
	b.back("b")
	<-first
	again := b.waiter("b")
	b.end("b") // one tail is left
	<-again
	b.end("b")
	require.Nil(t, b.waiter("b"))
	require.False(t, b.any.Load())
}

func TestIntegrationABrokerWithoutLightMessageQueuesIsNotReady(t *testing.T) {
	t.Parallel()
	c := cluster.ForTest(t, cluster.Options{Broker: map[string]string{"enableLmq": "false", "enableMultiDispatch": "false"}})
	s, err := New(Options{Namesrv: c.Namesrv(), Log: testLog(t)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Start(t.Context()))
	var ready error
	require.Eventually(t, func() bool {
		ready = s.Ready(t.Context())
		return ready != nil && strings.Contains(ready.Error(), "enableLmq=true and enableMultiDispatch=true")
	}, patience, 20*time.Millisecond)
	require.ErrorContains(t, ready, `"broker-a"`)
	topic := newTopic(t, s, 1)
	ref := store.QueueRef{Queue: topic + "%a%", Broker: "broker-a"}
	_, boundsErr := s.Bounds(t.Context(), ref)
	_, readErr := s.Read(t.Context(), ref, 0, 1)
	commitErr := s.Commit(t.Context(), topic+"@client", 1, []store.Offset{{QueueRef: ref, Next: 0}})
	for what, err := range map[string]error{"bounds": boundsErr, "read": readErr, "commit": commitErr} {
		require.NotErrorIs(t, err, store.ErrUnknownTopic, what)
		t.Log(what, err)
	}
	require.Error(t, commitErr)
}

// held is a holder of records.
type held bool

func (h held) Held() bool { return bool(h) }

func TestARecordThatIsHeldIsNotTriedAgain(t *testing.T) {
	nobody, err := freeport.Address()
	require.NoError(t, err)
	s, err := New(Options{NodeID: "test", Namesrv: []string{nobody}, Log: testLog(t)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Start(t.Context()))
	for h, limit := range map[held]time.Duration{true: patience, false: time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := appendWait(ctx, s, store.Append{Message: message("t/a", "m"), Topic: "t", Key: "k", Holder: h})
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.Equal(t, bool(h), ctx.Err() == nil, "a record that is held fails at once, any other is tried until its time is over: %v", err)
	}
}
