package session

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/topic"
)

// The broker of these tests loses the records that a session has acknowledged last, and others take their offsets: more than were lost, so
// that nothing shows it but the records themselves.

var cutQueue = store.QueueRef{Queue: topic.Queue("T/#"), Broker: local.Broker}

func TestASessionGoesBackToWhereItsBrokerLostRecords(t *testing.T) {
	for name, away := range map[string]bool{"connected": false, "asleep": true} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			c := n.connect("c", durable)
			c.subscribe(1, "T/#")
			n.publish(1, "T/a", "1", "2", "3", "4")
			c.gets("1", "2", "3", "4")
			n.eventually("the progress is committed", func() bool { return committed(t, n, "c") == 4 })
			if away {
				c.leave()
			}
			require.NoError(t, n.store.Cut(t.Context(), cutQueue, 2))
			n.publish(1, "T/a", "5", "6", "7")
			if away {
				c = n.connect("c", durable)
			}
			c.gets("5", "6", "7")
			n.eventually("the new progress is committed", func() bool { return committed(t, n, "c") == 5 })
			c.drop()
			c = n.connect("c", durable)
			require.True(t, c.present)
			n.publish(1, "T/a", "8")
			c.gets("8")
			require.Zero(t, c.waiting())
		})
	}
}

func TestWhatASessionHasNotAcknowledgedSinceACutComesAgain(t *testing.T) {
	n := startNode(t)
	c := n.connect("c", durable)
	c.subscribe(1, "T/#")
	n.publish(1, "T/a", "1", "2", "3", "4")
	c.gets("1", "2", "3")
	old := c.next() // in flight at the cut
	require.NoError(t, n.store.Cut(t.Context(), cutQueue, 2))
	n.publish(1, "T/a", "5", "6", "7")
	c.gets("5")
	require.Equal(t, "6", string(c.next().Payload))
	c.ack(old)
	n.eventually("only what was acknowledged is committed", func() bool { return committed(t, n, "c") == 3 })
	c.drop()
	n.crash() // what was in flight is forgotten
	at := committed(t, n, "c")
	require.EqualValues(t, 3, at, "the records 6 and 7 are still to come")
}

func TestASubscriptionDoesNotBeginBehindWhatItsBrokerLost(t *testing.T) {
	n := startNode(t)
	c := n.connect("c", durable)
	c.subscribe(1, "T/#")
	c.leave()
	d := n.connect("d", durable)
	d.subscribe(1, "T/#")
	n.publish(1, "T/a", "1", "2", "3")
	d.gets("1", "2", "3")
	late := n.connect("late", durable)
	late.subscribe(1, "T/#") // begins at the end
	late.leave()
	require.NoError(t, n.store.Cut(t.Context(), cutQueue, 1))
	n.publish(1, "T/a", "4", "5", "6", "7")
	c = n.connect("c", durable)
	c.gets("1", "4", "5", "6", "7")
	late = n.connect("late", durable)
	late.gets("4", "5", "6", "7")
	late.leave()
	late = n.connect("late", durable)
	n.publish(1, "T/a", "8")
	late.gets("8")
}

func TestProgressInTheRecordIsUsedWhereTheStoresIsOlder(t *testing.T) {
	n := startNode(t)
	c := n.connect("c", durable)
	c.subscribe(2, "T/#")
	n.publish(2, "T/a", "1", "2", "3")
	c.gets("1", "2", "3")
	c.leave()
	epoch := n.record("c").Epoch
	older := []store.Offset{{QueueRef: cutQueue, Next: 1}} // as a slave has it
	require.NoError(t, n.own.Commit(t.Context(), "c", epoch, older))
	require.EqualValues(t, 1, committed(t, n, "c"))
	n.publish(2, "T/a", "4")
	c = n.connect("c", durable)
	c.gets("4")
	n.eventually("the progress is committed", func() bool { return committed(t, n, "c") == 4 })
}

// committed returns a client's committed offset; 0 if there is none.
func committed(t *testing.T, n *node, client string) int64 {
	t.Helper()
	offsets, err := n.own.Committed(context.Background(), client, []store.QueueRef{cutQueue})
	require.NoError(t, err)
	if len(offsets) == 0 {
		return 0
	}
	return offsets[0].Next
}
