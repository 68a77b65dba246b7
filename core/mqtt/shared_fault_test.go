package mqtt_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// briefly gives group messages a visibility timeout of 6 seconds, so that they come again soon unless the node renews it.
func briefly(c *mqtttest.Config) { c.Delivery.Hidden = 6 * time.Second }

// acknowledged waits until count group messages are acknowledged to the store.
func acknowledged(t *testing.T, n *mqtttest.Node, count int) {
	t.Helper()
	mqtttest.Eventually(t, "the store knows what is acknowledged", func() bool { acked, _ := n.Faults.PopAcks(); return acked == count })
}

func TestAGroupGoesOnAfterFailuresOfTheStore(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, briefly)
	pub, a := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "a")
	a.Subscribe(1, sharedT)
	for i := range 4 {
		pub.Publish(1, "T/a", strconv.Itoa(i))
	}
	var got []*packet.Publish
	for i := range 4 {
		got = append(got, a.ExpectPublish("T/a", strconv.Itoa(i)))
	}
	// Acknowledgements that fail while the store is down are retried when it is back.
	down := errors.Join(store.ErrUnavailable, errors.New("for a test"))
	n.Faults.FailGroups(down)
	a.Ack(got[0])
	a.Ack(got[1])
	require.Empty(t, a.Ping())
	require.Equal(t, []packet.Code{packet.UnspecifiedError},
		a.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "$share/new/T/#", QoS: 1}}}), "a new group cannot be placed")
	mqtttest.Eventually(t, "an acknowledgement fails", func() bool { _, refused := n.Faults.PopAcks(); return refused > 0 })
	n.Faults.FailGroups(nil)
	a.Ack(got[2])
	acknowledged(t, n, 3)
	a.Close()
	b := n.Connect(packet.V5, "b")
	b.Subscribe(1, sharedT)
	b.Ack(b.ExpectPublish("T/a", "3"))
	pub.Publish(1, "T/a", "new")
	b.Ack(b.ExpectPublish("T/a", "new"))
	require.Empty(t, b.Ping())
}
