package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// ownRocketMQ starts a RocketMQ for one run.
func ownRocketMQ(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.StartDeadline)
	defer cancel()
	o.Version = cluster.Wanted(t)
	mq, err := cluster.Start(ctx, o)
	require.NoError(t, err)
	t.Cleanup(mq.Stop)
	return mq
}

// TestOneOfTwoBrokersThatIsAwayLosesNothing kills one of two brokers, and restarts it later. Meanwhile publishing goes on through the other
// one. Sessions that sleep have messages on both. The messages of a publisher that one broker has are in order.
func TestOneOfTwoBrokersThatIsAwayLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		mq := ownRocketMQ(t, cluster.Options{Brokers: 2})
		f := newFleetOn(t, r, 2, mq, etcdtest.Start(t, etcdtest.Options{}))
		f.brokers = 2
		senders, rovers := f.crowd(scale(1, 4), scale(6, 12), time.Second)
		sleepers := f.sleepers(scale(4, 40), senders)
		for range scale(1, 3) {
			lost := r.IntN(2)
			f.more(senders, 20)
			mq.KillBroker(lost)
			for until := time.Now().Add(time.Duration(r.IntN(int(2 * lease)))); time.Now().Before(until); {
				f.more(senders, 20) // each of them goes on
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			require.NoError(t, mq.RestartBroker(ctx, lost))
			cancel()
			f.more(senders, 20)
		}
		f.wake(rep, sleepers)
		// Messages that the broker stored without being able to confirm them are stored again.
		f.settle(rep, senders, append(rovers, sleepers...),
			bounds{duplicates: 50, repeats: scale(1, 3) * len(senders) * flyingMost, refused: true})
	})
}

// sleepers begins sessions that get all messages from the first one that each sender sends from then on, and disconnects them.
func (f *fleet) sleepers(n int, senders []*sender) (out []*rover) {
	f.t.Helper()
	for i := range n {
		s := f.newRover(fmt.Sprint("sleeper", i), f.first+"/#", byte(1+i%2), 0, f.nodes[i%len(f.nodes)])
		s.freeze()
		for _, from := range senders {
			s.ignores(from, from.total())
		}
		_ = s.link.Close()
		<-s.link.closed
		s.mu.Lock()
		s.quiet = time.Time{} // its sleep is not a time without messages
		s.mu.Unlock()
		out = append(out, s)
	}
	return out
}

// ignores makes a rover count messages of a sender before a number as received.
func (r *rover) ignores(s *sender, before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range before {
		if key := fmt.Sprintf("%s %d", s.topic, i); r.seen[key] == 0 {
			r.seen[key] = 1
		}
	}
}

// TestASlaveThatWasInSyncBecomesTheMaster kills the master for good, and starts its slave as the master. Nothing was acknowledged that the
// slave does not have.
func TestASlaveThatWasInSyncBecomesTheMaster(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		mq := ownRocketMQ(t, cluster.Options{Role: "SYNC_MASTER", Broker: map[string]string{"inSyncReplicas": "2"}})
		f := newFleetOn(t, r, 2, mq, etcdtest.Start(t, etcdtest.Options{}))
		senders, rovers := f.crowd(scale(1, 4), scale(2, 6), time.Second)
		f.replicated()
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		if r.IntN(2) == 0 { // the slave stops first, and the master can confirm nothing more
			require.NoError(t, mq.SignalSlave(0, syscall.SIGSTOP))
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
		f.promote(senders)
		f.settle(rep, senders, rovers, promoted)
	})
}

// replicated waits until the slave knows the topics: a master does not wait for that.
func (f *fleet) replicated() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	require.NoError(f.t, f.mq.AwaitTopics(ctx, 0, f.first, "lmqgate_control", "lmqgate_sessions"))
}

// promoted is what a promotion may cost: what was in flight, and what was stored again because the old master had not confirmed it.
var promoted = bounds{duplicates: 50, repeats: 500, refused: true}

// promote makes the slave the master, and waits until every sender goes on.
func (f *fleet) promote(senders []*sender) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	require.NoError(f.t, f.mq.Promote(ctx, 0))
	f.more(senders, 50)
}

// TestASlaveThatIsBehindBecomesTheMaster does the same where the master does not wait for its slave, and the slave has stopped a moment
// before. Only what the master confirmed alone may be lost.
func TestASlaveThatIsBehindBecomesTheMaster(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		mq := ownRocketMQ(t, cluster.Options{Role: "ASYNC_MASTER"})
		f := newFleetOn(t, r, 2, mq, etcdtest.Start(t, etcdtest.Options{}))
		senders, rovers := f.crowd(scale(1, 4), scale(2, 6), time.Second)
		sleepers := f.sleepers(2, senders) // they have nothing of it yet
		f.replicated()
		for _, s := range senders {
			s.frail[0] = s.count() // acknowledgements come in order: the numbers before are stored
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, mq.AwaitSlave(ctx, 0, f.first, 4))
		require.NoError(t, mq.SignalSlave(0, syscall.SIGSTOP))
		f.more(senders, 1+r.IntN(100))
		mq.KillBroker(0)
		for _, s := range senders {
			s.frail[1] = s.total()
		}
		f.promote(senders)
		f.wake(rep, sleepers)
		rovers = append(rovers, sleepers...)
		f.settle(rep, senders, rovers, promoted)
		for _, s := range senders {
			for _, rover := range rovers {
				rep.Unreplicated += rover.without(s)
			}
		}
		assert.Positive(t, rep.Unreplicated, "the slave was not behind")
	})
}
