package abuse

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// pair is an honest publisher and an honest subscriber with a session. Each message carries its send time.
type pair struct {
	stop, done chan struct{}
	err        error // of the publisher; set when done is closed
	sent       int

	mu   sync.Mutex
	got  map[uint64]bool
	took []time.Duration
	lost error // of the subscriber's connection
}

// every is the interval at which the pair publishes.
const every = 20 * time.Millisecond

// honest starts a pair.
func honest(t *testing.T, g *gateway) *pair {
	t.Helper()
	p := &pair{stop: make(chan struct{}), done: make(chan struct{}), got: map[uint64]bool{}}
	sub, err := g.connect(t.Context(), "honest", "honest-sub", true)
	require.NoError(t, err)
	codes, err := sub.subscribe(1, "honest/data")
	require.NoError(t, err)
	require.Equal(t, []packet.Code{1}, codes)
	pub, err := g.connect(t.Context(), "honest", "honest-pub", false)
	require.NoError(t, err)
	begun := time.Now()
	go p.receive(sub, begun)
	go func() {
		defer close(p.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 1; ; n++ {
			var payload [16]byte
			binary.BigEndian.PutUint64(payload[:], uint64(n))
			binary.BigEndian.PutUint64(payload[8:], uint64(time.Since(begun)))
			if p.err = pub.publish(uint16(n%65000+1), "honest/data", false, payload[:]); p.err != nil {
				return
			}
			p.mu.Lock()
			p.sent = n
			p.mu.Unlock()
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

func (p *pair) receive(sub *client, begun time.Time) {
	for {
		in, err := sub.r.ReadPacket()
		if err != nil {
			p.mu.Lock()
			p.lost = err
			p.mu.Unlock()
			return
		}
		m, ok := in.(*packet.Publish)
		if !ok {
			continue
		}
		p.mu.Lock()
		p.got[binary.BigEndian.Uint64(m.Payload)] = true
		p.took = append(p.took, time.Since(begun)-time.Duration(binary.BigEndian.Uint64(m.Payload[8:])))
		p.mu.Unlock()
		if sub.send(&packet.Ack{Kind: packet.PUBACK, PacketID: m.PacketID}) != nil {
			return
		}
	}
}

// p99 returns the 99th percentile of the latencies since the last call.
func (p *pair) p99() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := p.took
	p.took = nil
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// end stops the publisher, and requires that every acknowledged message arrives.
func (p *pair) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	<-p.done
	require.NoError(t, p.err, "the honest publisher")
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.NoError(t, p.lost, "the honest subscriber's connection")
		return len(p.got) == p.sent
	}, 2*time.Minute, 10*time.Millisecond, "an honest message was acknowledged and did not arrive")
}

// newcomer requires that another honest client can connect, subscribe with a session, and retain a message.
func newcomer(ctx context.Context, g *gateway, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := g.connect(ctx, "honest", fmt.Sprintf("newcomer-%d", n), true)
	if err != nil {
		return err
	}
	codes, err := c.subscribe(1, fmt.Sprintf("honest/new/%d/+", n), fmt.Sprintf("$share/g%d/honest/new/#", n))
	if err != nil || slices.ContainsFunc(codes, packet.Code.Failed) {
		return fmt.Errorf("a newcomer's SUBSCRIBE: %v, %w", codes, err)
	}
	return c.publish(1, fmt.Sprintf("honest/state/%d", n), true, []byte("state"))
}
