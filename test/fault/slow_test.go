package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// slowMemory bounds the memory of a slow consumer's gateway, in its configuration and as measured by the test. The backlog is larger.
const (
	slowMemory = 128 << 20
	slowMost   = 256 << 20
)

// TestASlowConsumerHoldsUpNobodyAndCostsNoMemory builds up a backlog for a connected client that reads nothing, measures the effect on
// others, and then lets the client read everything.
func TestASlowConsumerHoldsUpNobodyAndCostsNoMemory(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleetOnFiles(t, r, settings{"limits": settings{"node": settings{"memory": slowMemory}}})
		f.fallBehind(rep)
	})
}

// TestASlowConsumerOnOneOfTwoGatewaysHoldsUpNobody is the same on RocketMQ.
func TestASlowConsumerOnOneOfTwoGatewaysHoldsUpNobody(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2, settings{"limits": settings{"node": settings{"memory": slowMemory}}})
		f.fallBehind(rep)
	})
}

func (f *fleet) fallBehind(rep *report) {
	t, n := f.t, f.nodes[0]
	t.Helper()
	slow := f.newRover("slow", f.first+"/bulk", 1, 0, n)
	slow.freeze()
	release := make(chan struct{})
	l, err := dial(n, &packet.Connect{Version: packet.V311, ClientID: slow.id}, patience, func(l *link, p packet.Packet) {
		<-release
		slow.take(l, p)
	})
	require.NoError(t, err)
	slow.mu.Lock()
	slow.link.isReplaced()
	slow.old, slow.link = append(slow.old, slow.link), l
	slow.mu.Unlock()

	samples := scale(100, 2000)
	rep.Before = f.latency(n, samples).Microseconds()
	const size = 64 << 10
	count := scale(5000, 16384) // 320 MiB, 1 GiB
	bulk := f.newPaddedSender("bulk", 1, time.Millisecond/2, f.nodes[len(f.nodes)-1], " "+strings.Repeat("x", size))
	for until := time.Now().Add(10 * patience); bulk.count() < count; time.Sleep(50 * time.Millisecond) {
		rep.Memory = max(rep.Memory, n.memory(t))
		require.True(t, time.Now().Before(until), "%d of %d messages are acknowledged", bulk.count(), count)
	}
	require.NoError(t, bulk.finish())
	rep.During = f.latency(n, samples).Microseconds()
	slow.mu.Lock()
	rep.Backlog = int64(bulk.total()-slow.got) * size
	slow.mu.Unlock()
	assert.False(t, l.over(), "the slow client was disconnected")
	close(release)
	progress, last := time.Now(), -1
	for {
		n, _ := slow.lacks(bulk)
		rep.Memory = max(rep.Memory, f.nodes[0].memory(t))
		if n != last {
			progress, last = time.Now(), n
		}
		if n == 0 {
			break
		}
		require.Less(t, time.Since(progress), patience, "%d messages do not come to the slow client", n)
		time.Sleep(50 * time.Millisecond)
	}
	assert.Less(t, rep.Memory, int64(slowMost), "bytes of memory, with a backlog of %d", rep.Backlog)
	rep.Messages += bulk.count()
	slow.finish()
	slow.judge(rep, bounds{duplicates: 5})
}

// latency sends messages sequentially and returns the 99th percentile of their latencies to a subscriber.
func (f *fleet) latency(n *node, samples int) time.Duration {
	f.t.Helper()
	came := make(chan string, 1)
	suback := make(chan struct{})
	id := fmt.Sprintf("clock-%s-%d", f.salt, f.rand.Uint32())
	l, err := dial(n, &packet.Connect{Version: packet.V311, ClientID: id, CleanStart: true}, patience, func(l *link, p packet.Packet) {
		switch p := p.(type) {
		case *packet.Suback:
			close(suback)
		case *packet.Publish:
			_ = l.send(&packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID})
			came <- string(p.Payload)
		}
	})
	require.NoError(f.t, err)
	defer l.Close()
	topic := f.first + "/" + id
	require.NoError(f.t, l.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: topic, QoS: 1}}}))
	within := func(c <-chan struct{}) error {
		select {
		case <-c:
			return nil
		case <-l.closed:
			return errors.New("the connection has ended")
		case <-time.After(patience):
			return fmt.Errorf("nothing came within %v", patience)
		}
	}
	require.NoError(f.t, within(suback))
	took := make([]time.Duration, samples)
	for i := range took {
		began := time.Now()
		got := make(chan struct{})
		go func() {
			<-came
			close(got)
		}()
		require.NoError(f.t, l.send(&packet.Publish{Topic: topic, QoS: 1, PacketID: uint16(1 + i%60000), Payload: []byte("tick")}))
		require.NoError(f.t, within(got))
		took[i] = time.Since(began)
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	return took[samples*99/100]
}
