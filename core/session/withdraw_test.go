package session

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsQueuedUnderAWithdrawnSubscriptionIsNotSent(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "secret/#", "open/#", "$share/g/jobs/#")
		require.ElementsMatch(t, []Right{{"secret/#", "secret/#", "", 1}, {"open/#", "open/#", "", 1}, {"$share/g/jobs/#", "jobs/#", "g", 1}}, c.s.Rights())
		n.publish(1, "secret/a", "in flight")
		n.publish(1, "jobs/a", "a job")
		c.next()
		c.next()
		c.drop()
		n.publish(1, "secret/a", "stored")
		n.publish(1, "open/a", "1")

		c = &client{n: n, id: "c"}
		s, present, err := n.Connect(context.Background(), Request{ClientID: "c", ReceiveMaximum: 16, Conn: c, Expiry: time.Hour})
		require.NoError(t, err)
		require.True(t, present)
		c.s = s
		s.Withdraw(context.Background(), c, []string{"secret/#", "$share/g/jobs/#"})
		s.Start()
		c.gets("1")
		n.publish(1, "secret/a", "later")
		n.publish(1, "open/a", "2")
		c.gets("2")
		require.Len(t, n.record("c").Subscriptions, 1)

		other := n.connect("other")
		other.subscribe(1, "$share/g/jobs/#")
		other.gets("a job") // the group still has the message

		n.restart()
		c = n.connect("c", durable)
		n.publish(1, "open/a", "3")
		c.gets("3")
	})
}

func TestWhatAClientWasSentUnderAWithdrawnSubscriptionIsNotSentAgain(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(2, "secret/#", "open/#")
		n.publish(2, "secret/a", "unanswered")
		n.publish(1, "secret/b", "acknowledged late")
		c.next()
		late := c.next()
		n.publish(1, "open/a", "1") // the order between two first-level topics is undefined
		c.next()
		c.s.Withdraw(context.Background(), c, []string{"secret/#"})
		n.publish(1, "secret/c", "live")
		c.ack(late)
		c.drop()
		c = n.connect("c", durable)
		p := c.next()
		require.Equal(t, "1", string(p.Payload), "of what was in flight only this")
		require.True(t, p.Dup)
		c.ack(p)
		n.publish(1, "open/a", "2")
		c.gets("2")
		require.Zero(t, c.s.out.Len())
	})
}

func TestAMessageOfAnotherSubscriptionGoesOnWhenOneIsWithdrawn(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		filters := []string{"a/#", "a/+", "T/#"}
		for i := range manySubscriptions {
			filters = append(filters, "many/"+string(rune('a'+i)))
		}
		c.subscribe(1, filters...)
		n.publish(1, "a/b", "1")
		n.publish(1, "c/p2p/c", "to itself")
		c.next()
		c.next()
		c.s.Withdraw(context.Background(), c, []string{"a/#", "T/#"})
		c.drop()
		c = n.connect("c", durable)
		require.ElementsMatch(t, []string{"1", "to itself"}, []string{string(c.next().Payload), string(c.next().Payload)})
	})
}

func TestRetainedMessagesInLineAreNotSentUnderAWithdrawnSubscription(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		n.retain("secret/a", "r1")
		n.retain("secret/b", "r2")
		c := n.connect("c", durable, func(r *Request) { r.ReceiveMaximum = 1 })
		c.subscribe(1, "secret/#")
		first := c.next()
		c.s.Withdraw(context.Background(), c, []string{"secret/#"})
		c.ack(first)
		c.subscribe(1, "open/#")
		n.publish(1, "open/a", "1")
		c.gets("1")
	})
}

func TestAReviewOfAnOlderConnectionTakesNothingFromTheNewerOne(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		old := n.connect("c", durable)
		old.subscribe(1, "open/#")
		n.publish(1, "open/a", "in flight")
		old.next()
		c := n.connect("c", durable)
		require.Same(t, old.s, c.s)
		c.gets("in flight")
		old.s.Withdraw(context.Background(), old, []string{"open/#"})
		n.publish(1, "open/a", "1")
		c.gets("1")
		require.Len(t, n.record("c").Subscriptions, 1)
	})
}
