package session

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

func TestAQueueWaitsForTheTailAlsoIfTheLookupFoundNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.connect("sleeper", durable).subscribe(1, "T/#")
		tailed := n.connect("tailed", clean)
		tailed.subscribe(1, "T/b")
		n.publish(1, "T/b", "the tail runs")
		tailed.gets("the tail runs")
		// The metadata shows none of the values: another node has stored them a moment ago.
		retain := func(payload string) {
			m := &store.Message{Topic: "T/a", Payload: []byte(payload), QoS: 1, Retain: true, Created: time.Now()}
			stored := make(chan error, 1)
			n.store.Append(t.Context(), store.Append{Topic: "T", Message: m, Queues: []string{topic.Queue("T/#")}},
				func(_ store.Position, err error) { stored <- err })
			require.NoError(t, <-stored)
		}
		first := n.store.HoldTails()
		defer first()
		retain("1")
		retain("2")
		c := n.connect("c", durable)
		n.store.AfterBounds(func() { n.store.FailReads(store.ErrUnavailable) })
		c.subscribe(1, "T/#")
		second := n.store.HoldTailsAt(2)
		defer second()
		first()
		c.gets("1")
		retain("3")
		n.store.FailReads(nil)
		pass(5 * time.Second) // the queue could bring "3"
		require.Zero(t, c.waiting())
		second()
		c.gets("2", "3")
	})
}
