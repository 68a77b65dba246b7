package mqtt_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// These tests subscribe while retained messages are being processed. They hold up one stage of the processing at a time, so that the timing
// is deterministic.

// retain sends a retained PUBLISH at QoS 1 without waiting for the answer.
func retain(c *mqtttest.Client, topic, payload string) {
	c.Send(&packet.Publish{QoS: 1, PacketID: c.NextID(), Retain: true, Topic: topic, Payload: []byte(payload)})
}

// got returns the payloads that a client was sent, in order, and acknowledges them. A payload with the retain flag has the prefix "r ".
func got(c *mqtttest.Client) []string {
	var out []string
	for _, p := range c.Ping() {
		m, ok := p.(*packet.Publish)
		if !ok {
			continue
		}
		flag := ""
		if m.Retain {
			flag = "r "
		}
		out = append(out, flag+string(m.Payload))
		if m.QoS == 1 {
			c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: m.PacketID})
		}
	}
	return out
}

// eventually waits until a client was sent exactly these messages.
func eventually(t *testing.T, c *mqtttest.Client, want ...string) {
	t.Helper()
	var have []string
	deadline := time.Now().Add(mqtttest.Patience)
	for len(have) < len(want) && time.Now().Before(deadline) {
		have = append(have, got(c)...)
	}
	require.Equal(t, want, append(have, got(c)...))
}

// newest waits until a node's metadata has payload as the retained message of a topic; an empty payload stands for no message.
func newest(t *testing.T, n *mqtttest.Node, topic, payload string) {
	t.Helper()
	mqtttest.Eventually(t, "what is retained is known", func() bool {
		found := ""
		n.Meta.MatchRetained(topic, func(r *meta.Retained) bool { found = string(r.Message.Payload); return true })
		return found == payload
	})
}

// subscriber is a kind of subscriber: its CONNECT options and its filter.
type subscriber struct {
	name    string
	options []mqtttest.Option
	filter  string
}

var subscribers = []subscriber{
	{"clean", nil, "T/a"},
	{"clean with a wildcard", nil, "T/#"},
	{"clean to everything", nil, "#"},
	{"persistent", []mqtttest.Option{mqtttest.Keep}, "T/a"},
	{"persistent with a wildcard", []mqtttest.Option{mqtttest.Keep}, "+/a"},
}

// eachSubscriber runs f for each kind of subscriber. Each run has its own node, where "old" is retained and the client live is subscribed.
func eachSubscriber(t *testing.T, f func(t *testing.T, n *mqtttest.Node, pub, live *mqtttest.Client, s subscriber)) {
	t.Parallel()
	for _, s := range subscribers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t)
			pub, live := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "live")
			pub.Retain(1, "T/a", "old")
			live.Subscribe(0, "T/a")
			eventually(t, live, "r old")
			f(t, n, pub, live, s)
		})
	}
}

func TestASubscriberGetsWhatIsLiveBeforeTheMetadataKnowsThatItIsRetained(t *testing.T) {
	eachSubscriber(t, func(t *testing.T, n *mqtttest.Node, pub, live *mqtttest.Client, s subscriber) {
		release := n.HoldRetained()
		defer release()
		retain(pub, "T/a", "new")
		eventually(t, live, "new")
		c := n.Connect(packet.V5, "c", s.options...)
		c.Subscribe(1, s.filter)
		eventually(t, c, "r new")
		release()
		mqtttest.Expect[*packet.Ack](pub)
		pub.Retain(1, "T/a", "newer")
		eventually(t, c, "newer")
	})
}

func TestASubscriberIsNotSentWhatWasRemovedBeforeTheMetadataKnows(t *testing.T) {
	eachSubscriber(t, func(t *testing.T, n *mqtttest.Node, pub, live *mqtttest.Client, s subscriber) {
		release := n.HoldRetained()
		defer release()
		retain(pub, "T/a", "")
		eventually(t, live, "")
		c := n.Connect(packet.V5, "c", s.options...)
		c.Subscribe(1, s.filter)
		require.Empty(t, got(c))
		release()
		mqtttest.Expect[*packet.Ack](pub)
		pub.Retain(1, "T/a", "new")
		eventually(t, c, "new")
	})
}

func TestASubscriberGetsARetainedMessageThatTheTailHasNotBroughtYetOnceAndNothingFromBefore(t *testing.T) {
	eachSubscriber(t, func(t *testing.T, n *mqtttest.Node, pub, live *mqtttest.Client, s subscriber) {
		release := n.Faults.HoldTails()
		defer release()
		pub.Publish(1, "T/a", "not retained, and before")
		pub.Retain(1, "T/a", "new")
		c := n.Connect(packet.V5, "c", s.options...)
		c.Subscribe(1, s.filter)
		pub.Publish(1, "T/a", "after")
		release()
		eventually(t, c, "r new", "after")
		eventually(t, live, "not retained, and before", "new", "after")
	})
}

func TestARemovalFromBeforeIsNoMessageToASubscriberThatWasSentNothing(t *testing.T) {
	eachSubscriber(t, func(t *testing.T, n *mqtttest.Node, pub, live *mqtttest.Client, s subscriber) {
		release := n.Faults.HoldTails()
		defer release()
		pub.Retain(1, "T/a", "")
		c := n.Connect(packet.V5, "c", s.options...)
		c.Subscribe(1, s.filter)
		release()
		eventually(t, live, "")
		pub.Publish(1, "T/a", "after")
		eventually(t, c, "after")
	})
}

func TestASubscriberThatWasSentAValueIsToldThatItWasRemovedMeanwhile(t *testing.T) {
	eachSubscriber(t, func(t *testing.T, n *mqtttest.Node, pub, _ *mqtttest.Client, s subscriber) {
		write, bring := n.HoldRetained(), n.Faults.HoldTails()
		defer write()
		defer bring()
		retain(pub, "T/a", "")
		mqtttest.Eventually(t, "the removal is stored", func() bool { return n.Records("T") == 2 })
		c := n.Connect(packet.V5, "c", s.options...)
		c.Subscribe(1, s.filter)
		eventually(t, c, "r old")
		bring()
		eventually(t, c, "")
		write()
		mqtttest.Expect[*packet.Ack](pub)
		require.Empty(t, got(c))
	})
}

func TestRetainHandlingHoldsAtAnyMoment(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	pub.Retain(1, "T/a", "old")
	subscribe := func(c *mqtttest.Client, handling byte) {
		c.SubscribeTo(&packet.Subscribe{Filters: []packet.Subscription{{Filter: "T/a", QoS: 1, RetainHandling: handling}}})
	}
	one, two := n.Connect(packet.V5, "one"), n.Connect(packet.V5, "two")
	release := n.Faults.HoldTails()
	defer release()
	live := n.Connect(packet.V5, "live")
	live.Subscribe(1, "T/a")
	eventually(t, live, "r old")
	pub.Retain(1, "T/a", "new")
	subscribe(one, 1)
	subscribe(two, 2)
	release()
	eventually(t, live, "new")
	eventually(t, one, "r new")
	subscribe(one, 1)
	subscribe(two, 1)
	pub.Retain(1, "T/a", "newer")
	eventually(t, one, "newer")
	eventually(t, two, "newer")
}

func TestASubscriberOnAnotherNodeEndsWithTheNewestValue(t *testing.T) {
	t.Parallel()
	for _, s := range subscribers {
		for i := range 4 {
			then, looks := []string{"new", ""}[i%2], i > 1 // looks: whether the tail can read back
			t.Run(fmt.Sprintf("%s, %q, looks back %t", s.name, then, looks), func(t *testing.T) {
				t.Parallel()
				n := mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{"T"} })
				other := mqtttest.Start(t, func(c *mqtttest.Config) { c.Beside = n })
				pub := n.Connect(packet.V5, "pub")
				pub.Retain(1, "T/a", "old")
				newest(t, other, "T/a", "old")
				mqtttest.Eventually(t, "the topic is known", func() bool { return other.Meta.HasTopic("T") })
				// The other node learns of the value late: nobody there has subscribed, so no tail reads it, and its metadata is delayed.
				release := other.HoldNews()
				defer release()
				pub.Retain(1, "T/a", then)
				if !looks {
					other.Faults.FailPartitionReads(store.ErrUnavailable)
				}
				c := other.Connect(packet.V5, "c", s.options...)
				c.Subscribe(1, s.filter)
				if !looks {
					eventually(t, c, "r old")
				}
				release()
				switch {
				case then != "":
					eventually(t, c, "r new")
				case looks:
					require.Empty(t, got(c))
				default:
					eventually(t, c, "")
				}
				pub.Retain(1, "T/a", "newer")
				eventually(t, c, "newer")
			})
		}
	}
}

func TestAValueThatAnotherNodeStoresInTheMomentOfASubscribeIsNotLeftOut(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{"T"} })
	other := mqtttest.Start(t, func(c *mqtttest.Config) { c.Beside, c.Session.Settle = n, mqtttest.Patience })
	other.Faults.Shared()
	mqtttest.Eventually(t, "the topic is known", func() bool { return other.Meta.HasTopic("T") })
	n.Connect(packet.V5, "sleeper", mqtttest.Keep).Subscribe(1, "T/#") // so that the filter's queue exists
	pub, tailed, c := n.Connect(packet.V5, "pub"), other.Connect(packet.V5, "tailed"), other.Connect(packet.V5, "c", mqtttest.Keep)
	pub.Retain(1, "T/a", "1")
	newest(t, other, "T/a", "1")
	tailed.Subscribe(1, "T/a")
	eventually(t, tailed, "r 1")
	// The tail and the metadata of the other node are delayed. "2" is stored before the start of the new queue, "3" right after it.
	news, bring := other.HoldNews(), other.Faults.HoldTails()
	defer news()
	defer bring()
	pub.Retain(1, "T/a", "2")
	placed, stored := make(chan struct{}), make(chan struct{})
	other.Faults.AfterBounds(func() { close(placed); <-stored })
	c.Send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "T/#", QoS: 1}}})
	<-placed
	pub.Retain(1, "T/a", "3")
	close(stored)
	mqtttest.Expect[*packet.Suback](c)
	c.Ack(c.ExpectPublish("T/a", "1"))
	bring()
	eventually(t, c, "r 2", "3")
	news()
	pub.Retain(1, "T/a", "4")
	eventually(t, c, "4")
}

// withATailBeside starts a node, and another one beside it on which a tail of T runs. pub publishes on the first. settle is how long a tail
// of the other one may stand still until queues wait for it no longer; 0: the default.
func withATailBeside(t *testing.T, settle time.Duration) (n, other *mqtttest.Node, pub *mqtttest.Client) {
	t.Helper()
	n = mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{"T"} })
	other = mqtttest.Start(t, func(c *mqtttest.Config) { c.Beside, c.Session.Settle = n, settle })
	mqtttest.Eventually(t, "the topic is known", func() bool { return other.Meta.HasTopic("T") })
	pub = n.Connect(packet.V5, "pub")
	tailed := other.Connect(packet.V5, "tailed")
	tailed.Subscribe(1, "T/b")
	pub.Publish(1, "T/b", "the tail runs")
	eventually(t, tailed, "the tail runs")
	return n, other, pub
}

func TestNoValueIsLeftOutBehindOneThatOnlyTheTailBrings(t *testing.T) {
	t.Parallel()
	for _, s := range subscribers {
		for _, before := range []bool{true, false} { // whether the lookup finds a value
			t.Run(fmt.Sprintf("%s, found %t", s.name, before), func(t *testing.T) {
				t.Parallel()
				n, other, pub := withATailBeside(t, mqtttest.Patience)
				n.Connect(packet.V5, "sleeper", mqtttest.Keep).Subscribe(1, s.filter) // so that the filter's queue exists
				// "1" and "2" are stored before the SUBSCRIBE. The tail of the other node brings neither before it; the metadata shows at most "1".
				first := other.Faults.HoldTails()
				defer first()
				var news func()
				if before {
					pub.Retain(1, "T/a", "1")
					newest(t, other, "T/a", "1")
					news = other.HoldNews()
				} else {
					news = other.HoldNews()
					pub.Retain(1, "T/a", "1")
				}
				defer news()
				pub.Retain(1, "T/a", "2")
				c := other.Connect(packet.V5, "c", s.options...)
				c.Subscribe(1, s.filter)
				// "1" comes and is the newest. When "2" comes, "3" is the newest already.
				second := other.Faults.HoldTailsAt(2)
				defer second()
				first()
				eventually(t, c, "r 1")
				pub.Retain(1, "T/a", "3")
				news()
				newest(t, other, "T/a", "3")
				second()
				eventually(t, c, "r 2", "3")
			})
		}
	}
}

func TestNoValueIsLeftOutBehindALiveOneThatMissedTheQueue(t *testing.T) {
	t.Parallel()
	n, other, pub := withATailBeside(t, mqtttest.Patience)
	other.Faults.Shared()
	news, first := other.HoldNews(), other.Faults.HoldTails()
	defer news()
	defer first()
	pub.Retain(1, "T/a", "1") // the filter is not known yet, so no queue has it
	n.Connect(packet.V5, "sleeper", mqtttest.Keep).Subscribe(1, "T/#")
	pub.Retain(1, "T/a", "2")
	c := other.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(1, "T/#") // it begins in the queue behind "2"
	second := other.Faults.HoldTailsAt(2)
	defer second()
	first()
	eventually(t, c, "1")
	// When "2" comes, "3" is the newest already.
	pub.Retain(1, "T/a", "3")
	news()
	newest(t, other, "T/a", "3")
	second()
	eventually(t, c, "r 2", "3")
}

func TestAValueThatTheTailBringsIsNotSentBehindANewerOneFromTheQueue(t *testing.T) {
	t.Parallel()
	n, other, pub := withATailBeside(t, 0)
	n.Connect(packet.V5, "sleeper", mqtttest.Keep).Subscribe(1, "T/#") // so that the filter's queue exists
	news, first := other.HoldNews(), other.Faults.HoldTails()
	defer news()
	defer first()
	pub.Retain(1, "T/a", "1")
	c := other.Connect(packet.V5, "c", mqtttest.Keep)
	placed, stored := make(chan struct{}), make(chan struct{})
	other.Faults.AfterBounds(func() { close(placed); <-stored })
	c.Send(&packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "T/#", QoS: 1}}})
	<-placed
	pub.Retain(1, "T/a", "2")
	close(stored)
	mqtttest.Expect[*packet.Suback](c)
	eventually(t, c, "2")
	second := other.Faults.HoldTailsAt(2)
	defer second()
	first()
	newest(t, other, "T/a", "1")
	require.Empty(t, got(c))
	second()
	newest(t, other, "T/a", "2")
	pub.Retain(1, "T/a", "3")
	eventually(t, c, "3")
}

func TestWhatTheMetadataShowsLateIsNotSentBehindSomethingNewer(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{"T"} })
	other := mqtttest.Start(t, func(c *mqtttest.Config) { c.Beside = n })
	pub := n.Connect(packet.V5, "pub")
	mqtttest.Eventually(t, "the topic is known", func() bool { return other.Meta.HasTopic("T") })
	release := other.HoldNews()
	defer release()
	pub.Retain(1, "T/a", "1")
	c := other.Connect(packet.V5, "c")
	c.Subscribe(1, "T/#")
	eventually(t, c, "r 1") // otherwise "2" could replace it before it is sent
	pub.Retain(1, "T/a", "2")
	eventually(t, c, "2")
	release()
	newest(t, other, "T/a", "2")
	again := other.Connect(packet.V5, "again")
	again.Subscribe(1, "T/#")
	eventually(t, again, "r 2")
	require.Empty(t, got(c))
}

func TestInAnOutageOfTheMetadataNewSubscribersGetWhatTheOthersHave(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub, live := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "live")
	pub.Retain(1, "T/a", "old")
	live.Subscribe(1, "T/#")
	eventually(t, live, "r old")
	n.FailMetadata(true)
	retain(pub, "T/a", "new")
	eventually(t, live, "new")
	c := n.Connect(packet.V5, "c")
	c.Subscribe(1, "T/#")
	eventually(t, c, "r new")
	n.FailMetadata(false)
}

func TestRetainedMessagesComeBehindWhatTheSessionHasInLine(t *testing.T) {
	t.Parallel()
	for _, options := range [][]mqtttest.Option{nil, {mqtttest.Keep}} {
		for _, filter := range []string{"T/#", "T/a", "+/a"} {
			t.Run(fmt.Sprintf("persistent %t, %s", options != nil, filter), func(t *testing.T) {
				t.Parallel()
				n := mqtttest.Start(t)
				one := uint16(1)
				slow := mqtttest.Props(func(p *packet.Properties) { p.ReceiveMaximum = &one })
				pub, c := n.Connect(packet.V5, "pub"), n.Connect(packet.V5, "c", append(options, slow)...)
				c.Subscribe(1, "T/#")
				beside := n.Connect(packet.V5, "beside")
				beside.Subscribe(0, "T/#")
				for i := range 5 {
					pub.Retain(1, "T/a", strconv.Itoa(i))
				}
				first := c.ExpectPublish("T/a", "0")
				eventually(t, beside, "0", "1", "2", "3", "4") // all five are queued, and what comes later is new
				c.Subscribe(1, filter)
				c.Ack(first)
				eventually(t, c, "1", "2", "3", "4", "r 4")
			})
		}
	}
}

func TestNobodySeesValuesGoBackwardsOrLeaveAnyOut(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("persistent %t", keep), func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t, func(c *mqtttest.Config) { c.KnownTopics = []string{"T"} })
			other := mqtttest.Start(t, func(c *mqtttest.Config) { c.Beside = n })
			mqtttest.Eventually(t, "the topic is known", func() bool { return other.Meta.HasTopic("T") })
			anchor := other.Connect(packet.V5, "anchor")
			anchor.Subscribe(0, "T/other")
			// No filter is new: these nodes do not tell each other of new ones before SUBACK, as those of a cluster do.
			filters := []string{"T/a", "T/+", "#"}
			n.Connect(packet.V5, "sleeper", mqtttest.Keep).Subscribe(1, filters...)
			pub := n.Connect(packet.V5, "pub")
			stop, done := make(chan struct{}), make(chan int)
			go func() {
				for i := 1; ; i++ {
					retain(pub, "T/a", strconv.Itoa(i))
					if _, err := pub.Receive(mqtttest.Patience); err != nil {
						done <- -1
						return
					}
					select {
					case <-stop:
						done <- i
						return
					default:
					}
				}
			}()
			var options []mqtttest.Option
			if keep {
				options = append(options, mqtttest.Keep)
			}
			follow := func(c *mqtttest.Client, have []int, until func([]int) bool) []int {
				deadline := time.Now().Add(mqtttest.Patience)
				for !until(have) && time.Now().Before(deadline) {
					m, err := c.Receive(mqtttest.Patience)
					require.NoError(t, err)
					p, ok := m.(*packet.Publish)
					require.True(t, ok)
					c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID})
					i, err := strconv.Atoi(string(p.Payload))
					require.NoError(t, err)
					if len(have) > 0 {
						require.Equal(t, have[len(have)-1]+1, i, "after %v", have)
					}
					have = append(have, i)
				}
				return have
			}
			var last *mqtttest.Client
			var have []int
			for i := range 40 {
				node := n
				if i%2 == 1 {
					node = other
				}
				last = node.Connect(packet.V5, fmt.Sprintf("c%d", i), options...)
				last.Subscribe(1, filters[i%3])
				have = follow(last, nil, func(v []int) bool { return len(v) >= 4 })
				if i < 39 {
					last.Close()
				}
			}
			close(stop)
			end := <-done
			have = follow(last, have, func(v []int) bool { return v[len(v)-1] >= end })
			require.Equal(t, end, have[len(have)-1])
		})
	}
}

func TestASubscriberBesideAWillEndsWithTheWill(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	status := mqtttest.Will(packet.Will{Topic: "S/dev", Payload: []byte("offline"), QoS: 1, Retain: true})
	for i := range 15 {
		dev := n.Connect(packet.V5, "dev", status)
		dev.Retain(1, "S/dev", "online")
		dev.Close()
		c := n.Connect(packet.V311, fmt.Sprintf("c%d", i))
		c.Subscribe(1, "S/#")
		mqtttest.Eventually(t, "the client knows of the end", func() bool {
			m := got(c)
			return len(m) > 0 && (m[len(m)-1] == "offline" || m[len(m)-1] == "r offline")
		})
		c.Close()
	}
}
