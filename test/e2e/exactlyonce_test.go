package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Two clients keep their state, as the protocol requires. The gateways that they are connected to are killed one after the other; if there
// are two, the clients continue on the other one.
func TestQoS2IsExactlyOnceWhenGatewaysAreKilled(t *testing.T) {
	onOneNode(t, ownNodes)
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		const kills = 5
		nodes := []*Gateway{start(t, p)}
		topic := nodes[0].Topic("once")
		name := nodes[0].Name
		sub := nodes[0].connect(t, name("sub"), persistent)
		sub.subscribe(topic+"/#", 2)
		sub.leave()
		if p.name == rocketmqProfile.name {
			nodes = append(nodes, start(t, p)) // after SUBACK: a node that runs learns of a new filter a moment later
		}

		s, r := &mqtttest.Sender{Topic: topic + "/n"}, &mqtttest.Receiver{}
		for i := range kills + 1 {
			g := nodes[i%len(nodes)]
			link := func(id string) *mqtttest.Link {
				l, err := mqtttest.Open(g.TCP, &packet.Connect{Version: packet.V5, ClientID: id, HasUsername: true, Username: user,
					HasPassword: true, Password: []byte(g.password(id))})
				require.NoError(t, err)
				return l
			}
			final, last := i == kills, math.MaxInt
			if final {
				last = s.Sent() + 50
			}
			in, out := link(name("pub")), link(name("sub"))
			var wg sync.WaitGroup
			var failed error
			wg.Go(func() { failed = s.Run(in, last) })
			wg.Go(func() { _ = r.Run(out) })
			more := r.Count() + 20 + rand.IntN(100)
			if final {
				more = last
			}
			eventually(t, 2*patience, func() error {
				if n := r.Count(); n < more {
					return fmt.Errorf("%d of %d messages came", n, more)
				}
				return nil
			})
			if final {
				out.Close()
			} else {
				g.Kill()
			}
			wg.Wait()
			in.Close()
			out.Close()
			if final {
				require.NoError(t, failed)
			} else {
				g.Start()
			}
		}
		require.Equal(t, mqtttest.Numbers(s.Sent()), r.Got(), "each message once, in order")
	})
}
