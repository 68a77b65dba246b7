package fault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// talker publishes messages one at a time, and waits for each acknowledgement.
type talker struct {
	*link
	acks chan struct{}
	id   uint16
}

func (f *fleet) newTalker(name string, at *node) *talker {
	f.t.Helper()
	k := &talker{acks: make(chan struct{}, 1)}
	f.eventually(func() (err error) {
		k.link, err = dial(at, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: name + "-" + f.salt}, connectPatience,
			func(*link, packet.Packet) { k.acks <- struct{}{} })
		return err
	})
	return k
}

func (k *talker) retain(topic, value string) error {
	k.id++
	if err := k.send(&packet.Publish{Topic: topic, QoS: 1, PacketID: k.id, Retain: true, Payload: []byte(value)}); err != nil {
		return err
	}
	select {
	case <-k.acks:
		return nil
	case <-k.closed:
		return fmt.Errorf("the connection to %s has ended", k.to.id)
	case <-time.After(patience):
		return fmt.Errorf("no acknowledgement by %s", k.to.id)
	}
}

// TestRetainedValuesOfTwoNodesAgree sets and removes the retained values of some topics from two gateways at the same time.
func TestRetainedValuesOfTwoNodesAgree(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		f := newFleet(t, r, 2)
		const topics = 5
		rounds := scale(60, 400)
		var last [2][topics]string
		var all sync.WaitGroup
		for i, n := range f.nodes {
			k := f.newTalker(fmt.Sprintf("talker%d", i), n)
			own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
			all.Go(func() {
				for round := range rounds {
					topic, value := own.IntN(topics), ""
					if own.IntN(3) > 0 {
						value = fmt.Sprintf("%d-%d", i, round)
					}
					if err := k.retain(fmt.Sprintf("%s/r/%d", f.first, topic), value); err != nil {
						t.Error(err)
						return
					}
					last[i][topic] = value
				}
			})
		}
		all.Wait()
		rep.Messages = 2 * rounds
		require.NoError(t, f.newTalker("marker", f.nodes[0]).retain(f.first+"/r/marker", "m"))
		var values map[string]string
		f.eventually(func() error {
			values = f.retained(f.nodes[0])
			if others := f.retained(f.nodes[1]); !maps.Equal(values, others) {
				return fmt.Errorf("one node has %v, the other %v", values, others)
			}
			return nil
		})
		for i := range topics {
			value := values[fmt.Sprintf("%s/r/%d", f.first, i)]
			require.Contains(t, []string{last[0][i], last[1][i]}, value, "the value is the last one of a publisher")
		}
	})
}

// retained returns the retained messages that a new subscriber gets from a gateway.
func (f *fleet) retained(at *node) map[string]string {
	f.t.Helper()
	var mu sync.Mutex
	values, marked := map[string]string{}, make(chan struct{}, 1)
	var reader *link
	f.eventually(func() (err error) {
		reader, err = dial(at, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Sprintf("reader%d", rand.Uint32())},
			connectPatience, func(_ *link, p packet.Packet) {
				if m, ok := p.(*packet.Publish); ok {
					mu.Lock()
					defer mu.Unlock()
					values[m.Topic] = string(m.Payload)
					if m.Topic == f.first+"/r/marker" {
						select {
						case marked <- struct{}{}:
						default:
						}
					}
				}
			})
		return err
	})
	defer reader.Close()
	require.NoError(f.t, reader.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: f.first + "/r/+"}}}))
	select {
	case <-marked:
	case <-time.After(5 * time.Second):
		return nil // it is asked again
	}
	// The other messages arrive in any order around the marker.
	time.Sleep(200 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(values)
}
