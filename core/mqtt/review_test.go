package mqtt_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/topic"
)

// changing is a set of rules that a test changes while clients are connected.
type changing struct {
	mqtttest.Rules
	mu      sync.Mutex
	denied  map[string]bool // by filter or topic
	down    bool
	asked   int
	goodFor atomic.Int64
	judged  func() // called once, after an action is judged and before the answer is delivered
}

func startChanging(t *testing.T, change ...func(*mqtttest.Config, *changing)) (*mqtttest.Node, *changing) {
	t.Helper()
	r := &changing{denied: map[string]bool{}}
	r.Allow = func(_ string, a auth.Action) bool {
		r.mu.Lock()
		ok, judged := !r.denied[a.Topic], r.judged
		r.asked++
		r.judged = nil
		r.mu.Unlock()
		if judged != nil {
			judged()
		}
		return ok
	}
	r.GoodFor = func() time.Duration { return time.Duration(r.goodFor.Load()) }
	r.Unavailable = func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.down
	}
	return mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Authority = r
		for _, f := range change {
			f(c, r)
		}
	}), r
}

func (r *changing) set(down bool, denied ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	clear(r.denied)
	for _, name := range denied {
		r.denied[name] = true
	}
}

func (r *changing) setGoodFor(d time.Duration) { r.goodFor.Store(int64(d)) }

func (r *changing) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// awaitSubscriptions waits until the connected clients have exactly many subscriptions.
func awaitSubscriptions(t *testing.T, n *mqtttest.Node, many int) {
	t.Helper()
	mqtttest.Eventually(t, "subscriptions end", func() bool { return len(n.Sessions.Subscriptions()) == many })
}

func TestALiveSubscriptionEndsWhenItsRightIsInDoubtAndGone(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t)
	pub := n.Connect(packet.V5, "pub")
	group := 0
	for _, v := range versions {
		for _, options := range [][]mqtttest.Option{nil, {mqtttest.Keep}} {
			r.set(false)
			c := n.Connect(v, "c", options...)
			group++
			c.Subscribe(1, "secret/#", "open/#", fmt.Sprintf("$share/g%d/jobs/#", group))
			pub.Publish(1, "secret/a", "before")
			c.Ack(c.ExpectPublish("secret/a", "before"))
			r.set(false, "secret/#", "jobs/#")
			n.Server.Review(auth.Revocation{ClientID: "somebody else"})
			require.Len(t, n.Sessions.Subscriptions(), 3)
			n.Server.Review(auth.Revocation{ClientID: "c"})
			awaitSubscriptions(t, n, 1)
			pub.Publish(1, "secret/a", "after")
			pub.Publish(1, "jobs/a", "after")
			pub.Publish(1, "open/a", "last")
			c.Ack(c.ExpectPublish("open/a", "last"))
			c.Disconnect()
		}
	}
}

func TestAResumedSubscriptionIsJudgedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t)
	pub := n.Connect(packet.V5, "pub")
	for i, v := range versions {
		id := []string{"a", "b"}[i]
		r.set(false)
		c := n.Connect(v, id, mqtttest.Keep)
		c.Subscribe(1, "secret/#", "open/#")
		pub.Publish(1, "secret/a", "in flight")
		c.ExpectPublish("secret/a", "in flight")
		c.Close()
		pub.Publish(1, "secret/a", "stored")
		pub.Publish(1, "open/a", "1")
		r.set(false, "secret/#")
		if i == 1 {
			n.Restart()
			pub = n.Connect(packet.V5, "pub")
		}
		c = n.Connect(v, id, mqtttest.Keep)
		c.Ack(c.ExpectPublish("open/a", "1"))
		pub.Publish(1, "secret/a", "later")
		pub.Publish(1, "open/a", "2")
		c.Ack(c.ExpectPublish("open/a", "2"))
		c.Disconnect()
		r.set(false)
		c = n.Connect(v, id, mqtttest.Keep) // the subscription has ended and does not come back
		pub.Publish(1, "secret/a", "again")
		pub.Publish(1, "open/a", "3")
		c.Ack(c.ExpectPublish("open/a", "3"))
		c.Disconnect()
	}
}

func TestASubscriptionToEventsEndsOnANodeWhereTheyAreHidden(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{topic.Events} })
	hiding := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Beside, c.MQTT.EventsHidden = n, true
	})
	for i, v := range versions {
		id := []string{"a", "b"}[i]
		c := n.Connect(v, id, mqtttest.Keep)
		c.Subscribe(1, "$events/connected", "$share/g"+id+"/$events/#", "open/#")
		require.Len(t, n.Sessions.Subscriptions(), 3)
		c.Disconnect()
		c = hiding.Connect(v, id, mqtttest.Keep)
		awaitSubscriptions(t, hiding, 1)
		c.Publish(1, "open/a", id)
		c.Ack(c.ExpectPublish("open/a", id))
		c.Disconnect()
	}
}

func TestSubscriptionsAreJudgedAgainWhenTheirAnswersAreNotGoodAnyMoreAndNotBefore(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t, func(c *mqtttest.Config, r *changing) {
		c.MQTT.ReviewLeast = 300 * time.Millisecond
		r.setGoodFor(time.Hour)
	})
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c")
	c.Subscribe(1, "secret/#")
	before := r.questions()
	pub.Publish(1, "secret/a", "1")
	pub.Publish(1, "secret/a", "2")
	c.ExpectPublish("secret/a", "1")
	c.ExpectPublish("secret/a", "2")
	require.Equal(t, before+2, r.questions(), "the two publishes, and nothing for those who get them")

	r.setGoodFor(time.Millisecond)
	d := n.Connect(packet.V5, "d")
	d.Subscribe(1, "secret/#")
	r.set(false, "secret/#")
	awaitSubscriptions(t, n, 1)
	require.Equal(t, "c", n.Sessions.Subscriptions()[0].ClientID, "whose answer is good for an hour")
}

func TestAClientKeepsItsSubscriptionsWhileTheyCannotBeJudged(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t, func(c *mqtttest.Config, _ *changing) { c.MQTT.ReviewLeast = 300 * time.Millisecond })
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V311, "c", mqtttest.Keep)
	c.Subscribe(1, "secret/#", "open/#")
	r.set(true, "secret/#")
	n.Server.Review(auth.Revocation{})
	c.Disconnect()
	c = n.Connect(packet.V311, "c", mqtttest.Keep)
	require.Len(t, n.Sessions.Subscriptions(), 2)
	r.set(false, "secret/#")
	awaitSubscriptions(t, n, 1) // the server asks again on its own
	pub.Publish(1, "open/a", "1")
	c.ExpectPublish("open/a", "1")
}

func TestARightThatGoesWhileItIsAskedForIsNotKept(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t)
	c := n.Connect(packet.V5, "c")
	r.mu.Lock()
	r.judged = func() {
		r.set(false, "secret/#")
		n.Server.Review(auth.Revocation{})
	}
	r.mu.Unlock()
	c.Subscribe(1, "secret/#")
	awaitSubscriptions(t, n, 0)
}

func TestWillsAreJudgedWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	n, r := startChanging(t, func(c *mqtttest.Config, r *changing) {
		c.Session.Judge = r
		r.Name = "rules"
	})
	watch := n.Connect(packet.V5, "watch")
	watch.Subscribe(1, "W/#")
	c := n.Connect(packet.V311, "c", will(1, false, "allowed"))
	c.Close()
	watch.Ack(watch.ExpectPublish("W/a", "allowed"))
	c, d := n.Connect(packet.V311, "c", will(1, false, "denied")), n.Connect(packet.V5, "d", mqtttest.Keep, delayed(3, "denied"))
	kicked := n.Connect(packet.V5, "kicked", will(1, false, "denied"))
	d.Close()
	r.set(false, "W/a")
	c.Close()
	n.Server.Revoke(auth.Revocation{ClientID: "kicked"})
	kicked.ExpectDisconnect(packet.AdministrativeAction)
	for _, id := range []string{"c", "d", "kicked"} {
		mqtttest.Eventually(t, "the will of "+id+" is dropped", func() bool {
			w, err := n.Meta.LoadWill(t.Context(), id)
			return err == nil && w == nil
		})
	}
	require.Empty(t, watch.Ping())
}
