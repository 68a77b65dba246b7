package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/remoting"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// TestAKilledBrokerLosesNothing kills and restarts the broker under load.
func TestAKilledBrokerLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2)
		senders, rovers := f.crowd(scale(1, 4), scale(2, 6), time.Second)
		for range scale(1, 3) {
			f.mq.KillBroker(0)
			time.Sleep(time.Duration(r.IntN(int(2 * lease))))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			require.NoError(t, f.mq.RestartBroker(ctx, 0))
			cancel()
			f.more(senders, 20)
		}
		// Messages that the broker stored without being able to confirm them are stored again.
		f.settle(rep, senders, rovers, bounds{duplicates: 50, repeats: scale(1, 3) * len(senders) * flyingMost, refused: true})
	})
}

// TestABrokerWhoseDiskIsFullLosesNothing fills the disk of the broker until the broker refuses messages, and makes room again.
func TestABrokerWhoseDiskIsFullLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		const size = 512 << 20
		disk := filepath.Join(t.TempDir(), "disk")
		mountDisk(t, disk, size)
		mq := ownRocketMQ(t, cluster.Options{Dir: disk, Broker: map[string]string{"cleanResourceInterval": "200"},
			Java: []string{"-Drocketmq.broker.diskSpaceWarningLevelRatio=0.90"}})
		f := newFleetOn(t, r, 2, mq, etcdtest.Start(t, etcdtest.Options{}))
		senders, rovers := f.crowd(scale(1, 4), scale(2, 6), 300*time.Millisecond)
		ballast := filepath.Join(disk, "ballast")
		for range scale(2, 6) {
			require.NoError(t, fill(ballast, disk, size/20)) // the processes need some room for their logs
			f.eventually(func() error { return wantFull(t.Context(), mq) })
			time.Sleep(time.Duration(r.IntN(int(2 * lease))))
			require.NoError(t, os.Remove(ballast))
			f.more(senders, 20)
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 5, refused: true})
	})
}

// wantFull returns nil if the broker refuses messages because its disk is full.
func wantFull(ctx context.Context, mq *cluster.Cluster) error {
	client := remoting.New(remoting.Config{})
	defer client.Close()
	_, err := client.SendMessage(ctx, mq.Brokers()[0], remoting.SendRequest{Group: "fault", Topic: cluster.ProbeTopic, Body: []byte("x")})
	switch {
	case err == nil:
		return errors.New("the broker takes messages")
	case strings.Contains(err.Error(), "disk is full"):
		return nil
	}
	return err
}

// TestNameServersThatAreAwayStopNobody kills the name server for a while. Known topics keep working.
func TestNameServersThatAreAwayStopNobody(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2)
		senders, rovers := f.crowd(scale(1, 4), scale(2, 6), 300*time.Millisecond)
		f.mq.KillNamesrv(0)
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
			defer cancel()
			require.NoError(t, f.mq.RestartNamesrv(ctx, 0))
			require.NoError(t, f.mq.AwaitRoute(ctx, "lmqgate_probe", f.mq.BrokerNames()...))
		}()
		for until := time.Now().Add(time.Duration(scale(6, 120)) * time.Second); time.Now().Before(until); {
			f.more(senders, 20)
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 5})
	})
}

// TestANodeThatIsCutOffFromTheMetadataKeepsItsClients cuts one gateway off from etcd for longer than its lease. Its clients stay, and
// those that move find their sessions at the other one.
func TestANodeThatIsCutOffFromTheMetadataKeepsItsClients(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleetOn(t, r, 2, rocketmq(t), etcdtest.Start(t, etcdtest.Options{Members: 3}))
		senders, rovers := f.crowd(scale(2, 4), scale(2, 6), 300*time.Millisecond)
		f.nodes[0].setUp(false) // a load balancer would see that it is not ready
		f.etcd.Cut(0)
		cut := time.Now()
		staying := map[*rover]*link{}
		for _, rover := range rovers {
			rover.mu.Lock()
			if rover.every == 0 {
				staying[rover] = rover.link
			}
			rover.impatient = false
			rover.mu.Unlock()
		}
		for time.Since(cut) < 2*lease+time.Duration(r.IntN(int(lease))) {
			f.more(senders, 20)
		}
		for rover, l := range staying {
			assert.False(t, l.over(), "the connection of %s ended", rover.id)
		}
		f.etcd.Join(0)
		f.nodes[0].setUp(true)
		f.more(senders, 20)
		f.settle(rep, senders, rovers, bounds{duplicates: 5, refused: true}) // a CONNECT may have been in progress
	})
}

// TestANewLeaderOfEtcdLosesNothing stops the member of etcd that leads, or has it hand over, while sessions begin and move.
func TestANewLeaderOfEtcdLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := &fleet{t: t, rand: r, mq: rocketmq(t), etcd: etcdtest.Start(t, etcdtest.Options{Members: 3}), anyMember: true}
		f.launch(2)
		senders, rovers := f.crowd(scale(2, 4), scale(2, 6), 100*time.Millisecond)
		for i := range scale(3, 10) {
			leader := f.etcd.Leader()
			if r.IntN(2) == 0 {
				f.etcd.Stop(leader)
				f.newRover(fmt.Sprint("late", i), f.first+"/#", 1, 0, f.nodes[i%2]).finish() // it begins all the same
				f.more(senders, 1+r.IntN(100))
				f.etcd.StartMembers()
			} else {
				f.etcd.MoveLeader(leader, (leader+1)%3)
			}
			f.more(senders, 1+r.IntN(100))
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 5, refused: true})
	})
}

// TestPluginsThatDieOrHangLoseNothing kills plugins of gateways, and stops others for a while.
func TestPluginsThatDieOrHangLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		newFleet(t, r, 2).breakPlugins(r, rep)
	})
}

func TestPluginsOfOneGatewayThatDieOrHangLoseNothing(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		newFleetOnFiles(t, r, nil).breakPlugins(r, rep)
	})
}

// breakPlugins kills and stops plugins under load.
func (f *fleet) breakPlugins(r *rand.Rand, rep *report) {
	f.t.Helper()
	senders, rovers := f.crowd(scale(1, 4), scale(2, 6), 300*time.Millisecond)
	for range scale(4, 20) {
		all, err := f.any(r).plugins()
		require.NoError(f.t, err)
		pid := all[[]string{"auth", "meta"}[r.IntN(2)]]
		if pid == 0 {
			continue // it is being restarted
		}
		if r.IntN(2) == 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		} else {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		f.more(senders, 10)
	}
	f.settle(rep, senders, rovers, bounds{duplicates: 10, refused: true})
}
