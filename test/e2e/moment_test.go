package e2e

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Tests of what a client receives that subscribes at an awkward moment.

func TestNothingThatWasAcknowledgedBeforeASubscribeIsDelivered(t *testing.T) {
	onOneNode(t, "the tail lags what another node has acknowledged; see the known limits")
	everywhere(t, func(t *testing.T, p profile) {
		const subscribers = 60
		g := start(t, p)
		topic := g.Topic("moment") + "/x"
		pub, sleeper := g.connect(t, g.Name("pub")), g.connect(t, g.Name("sleeper"), persistent)
		sleeper.subscribe(topic, 1) // so that half of the time the records have a queue
		all := make([]*client, subscribers)
		for i := range all {
			all[i] = g.connect(t, g.Name("c"+strconv.Itoa(i)))
		}
		for i, c := range all {
			name := topic
			if i%2 == 1 {
				name += "/no-queue"
			}
			pub.publish(name, 1, "before "+strconv.Itoa(i))
			c.subscribe(name, 1)
			pub.publish(name, 1, "after "+strconv.Itoa(i))
		}
		for i, c := range all {
			require.Equal(t, "after "+strconv.Itoa(i), string(c.await(1)[0].Payload()), "subscriber %d", i)
		}
	})
}

func TestRetainedValuesNeverGoBackwardsOnAnyGateway(t *testing.T) {
	onOneNode(t, ownNodes)
	everywhere(t, func(t *testing.T, p profile) {
		one := start(t, p)
		gateways := []*Gateway{one}
		if p.name == rocketmqProfile.name {
			gateways = append(gateways, start(t, p))
		}
		topic := one.Topic("moment") + "/x"
		for i, g := range gateways {
			anchor := g.connect(t, g.Name("anchor"+strconv.Itoa(i)))
			eventually(t, patience, func() error {
				if code := anchor.trySubscribe(topic, 0)[topic]; code != 0 {
					return fmt.Errorf("SUBACK %#x", code)
				}
				return nil
			})
		}
		pub := one.connect(t, one.Name("pub"))
		stop, end := make(chan struct{}), make(chan int, 1)
		go func() {
			for i := 1; ; i++ {
				token := pub.Publish(topic, 1, true, strconv.Itoa(i))
				if !token.WaitTimeout(patience) || token.Error() != nil {
					end <- -1
					return
				}
				select {
				case <-stop:
					end <- i
					return
				default:
				}
			}
		}()
		var last *client
		for i := range 30 {
			g := gateways[i%len(gateways)]
			var options []option
			if i%3 == 2 {
				options = append(options, persistent)
			}
			last = g.connect(t, g.Name("c"+strconv.Itoa(i)), options...)
			last.subscribe(topic, 1)
			inOrder(t, last, len(last.await(4)))
			if i < 29 {
				last.Disconnect(0)
			}
		}
		close(stop)
		n := <-end
		require.Positive(t, n, "the publisher")
		eventually(t, patience, func() error {
			got := last.payloads()
			if v := got[len(got)-1]; v != strconv.Itoa(n) {
				return fmt.Errorf("the last value is %s, not %d", v, n)
			}
			return nil
		})
		inOrder(t, last, len(last.payloads()))
	})
}

// inOrder requires that the first n values that a client has are consecutive.
func inOrder(t *testing.T, c *client, n int) {
	t.Helper()
	before := 0
	for i, s := range c.payloads()[:n] {
		v, err := strconv.Atoi(s)
		require.NoError(t, err)
		if i > 0 {
			require.Equal(t, before+1, v, "%s has %q", c.id, c.payloads()[:n])
		}
		before = v
	}
}
