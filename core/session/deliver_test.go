package session

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

func subscription5(filter string, qos byte, id uint32) Subscription {
	return Subscription{Subscription: packet.Subscription{Filter: filter, QoS: qos}, ID: id}
}

func (c *client) subscribeTo(list ...Subscription) {
	c.n.t.Helper()
	codes, sent := c.s.Subscribe(context.Background(), list)
	for _, code := range codes {
		require.Less(c.n.t, code, packet.UnspecifiedError)
	}
	sent()
}

var kinds = map[string]func(*Request){"clean": clean, "durable": durable}

func TestOverlappingSubscriptionsBringOneCopyOfAll(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", kind)
				c.subscribeTo(subscription5("T/a", 0, 1), subscription5("T/+", 2, 2), subscription5("#", 1, 0))
				for i := range 5 {
					n.publish(2, "T/a", strconv.Itoa(i))
				}
				for i := range 5 {
					p := c.next()
					require.Equal(t, strconv.Itoa(i), string(p.Payload))
					require.EqualValues(t, 2, p.QoS)
					require.ElementsMatch(t, []uint32{1, 2}, p.Properties.SubscriptionIdentifiers)
					c.ack(p)
				}
				pass(time.Second)
				require.Zero(t, c.waiting())
			})
		})
	}
}

func TestOverlappingSubscriptionsBringOneCopyThroughAFullWindow(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", kind, func(r *Request) { r.ReceiveMaximum = 1 })
				c.subscribe(1, "T/a", "T/+")
				var want []string
				for i := range 10 {
					want = append(want, strconv.Itoa(i))
				}
				n.publish(1, "T/a", want...)
				c.gets(want...)
				pass(time.Second)
				require.Zero(t, c.waiting())
			})
		})
	}
}

func TestAClientsOwnMessageComesOnceThroughASubscriptionThatTakesIt(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("somebody", kind)
				own := subscription5("T/+", 1, 0)
				own.NoLocal = true
				c.subscribeTo(own, subscription5("T/a", 1, 7))
				n.publish(1, "T/b", "not to itself")
				n.publish(1, "T/a", "1", "2")
				for _, want := range []string{"1", "2"} {
					p := c.next()
					require.Equal(t, want, string(p.Payload))
					require.Equal(t, []uint32{7}, p.Properties.SubscriptionIdentifiers)
					c.ack(p)
				}
				pass(time.Second)
				require.Zero(t, c.waiting())
			})
		})
	}
}

func TestWhatIsNotSentToTheClient(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", kind)
				c.tooLarge = 100
				c.subscribe(2, "T/+")
				one := func(m store.Message) {
					m.Topic, m.Created = "T/a", time.Now()
					require.NoError(t, n.pub.One(context.Background(), "p", &m))
				}
				one(store.Message{QoS: 1, Payload: make([]byte, 100)}) // larger than the client's maximum packet size
				one(store.Message{QoS: 0, Payload: make([]byte, 100)})
				one(store.Message{QoS: 1, Payload: []byte("late"), Expires: time.Now().Add(-time.Second)})
				one(store.Message{QoS: 1, Payload: []byte("good"), Expires: time.Now().Add(1500 * time.Millisecond)})
				p := c.next()
				require.Equal(t, "good", string(p.Payload))
				require.LessOrEqual(t, *p.Properties.MessageExpiryInterval, uint32(2))
				c.ack(p)
				n.eventually("the window is free", func() bool {
					c.s.mu.Lock()
					defer c.s.mu.Unlock()
					return c.s.out.Len() == 0
				})
			})
		})
	}
}

func TestAFullBufferHoldsMessagesBackUntilThereIsRoom(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				n.retain("T/r", "kept")
				c := n.connect("c", kind)
				c.subscribe(1, "T/+")
				c.gets("kept")
				c.mu.Lock()
				c.full = 2
				c.mu.Unlock()
				n.publish(0, "T/a", "1", "2", "3")
				n.publish(1, "T/a", "4")
				c.gets("1", "2")
				pass(time.Second)
				require.Zero(t, c.waiting())
				if name == "durable" {
					c.drop() // the messages that were held back are read again
					c = n.connect("c", kind)
				} else {
					c.s.Writable()
				}
				c.gets("3", "4")
			})
		})
	}
}

// retain stores a retained message.
func (n *node) retain(name, payload string) {
	n.t.Helper()
	m := &store.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: true, Publisher: "somebody", Created: time.Now()}
	require.NoError(n.t, n.pub.One(context.Background(), "somebody", m))
}

func TestRetainedMessagesComeWithTheirSubscription(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		for i := range 5 {
			n.retain(fmt.Sprintf("T/%d", i), strconv.Itoa(i))
		}
		c := n.connect("c", durable, func(r *Request) { r.ReceiveMaximum = 2 })
		c.subscribeTo(subscription5("T/+", 1, 9))
		got := map[string]bool{}
		for range 5 {
			p := c.next()
			require.True(t, p.Retain)
			require.Equal(t, []uint32{9}, p.Properties.SubscriptionIdentifiers)
			got[string(p.Payload)] = true
			c.ack(p)
		}
		require.Len(t, got, 5)
		for _, handling := range []byte{1, 2} {
			again := subscription5("T/+", 1, 9)
			again.RetainHandling = handling
			c.subscribeTo(again)
		}
		pass(time.Second)
		require.Zero(t, c.waiting())
		// A live message carries the retain flag only to subscribers with Retain As Published.
		as := subscription5("T/+", 1, 0)
		as.RetainAsPublished, as.RetainHandling = true, 2
		c.subscribeTo(as)
		n.retain("T/0", "live")
		p := c.next()
		require.True(t, p.Retain)
		c.ack(p)
	})
}

func TestMessagesReadAsTheyWereWritten(t *testing.T) {
	text, empty, format, expires := "text", "", byte(1), uint32(60)
	for name, in := range map[string]*packet.Properties{
		"nothing":          nil,
		"an expiry":        {MessageExpiryInterval: &expires},
		"a format":         {PayloadFormat: &format},
		"a content type":   {ContentType: &text},
		"an empty type":    {ContentType: &empty},
		"a response topic": {ResponseTopic: &text, CorrelationData: []byte{}},
		"user properties":  {User: []packet.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}},
		"all": {MessageExpiryInterval: &expires, PayloadFormat: &format, ContentType: &text, ResponseTopic: &text, CorrelationData: []byte("c"),
			User: []packet.UserProperty{{Key: "k", Value: "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMessage(&packet.Publish{Topic: "T/a", Payload: []byte("p"), QoS: 1, Retain: true, Properties: in}, "c")
			require.Equal(t, "c", m.Publisher)
			out := publishProperties(m, nil)
			if in == nil {
				in = &packet.Properties{}
			}
			require.Equal(t, in, out)
		})
	}
}

func TestAReadThatFailsIsTriedAgain(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		c.leave()
		n.publish(1, "T/a", "1", "2")
		n.restart() // so that the messages are only in the store
		n.store.FailReads(store.ErrUnavailable)
		c = n.connect("c", durable)
		pass(5 * retryDelay)
		require.Zero(t, c.waiting())
		n.store.FailReads(nil)
		c.gets("1", "2")
	})
}

func TestWhileABrokerIsAwayTheSessionsThatCannotCommitAreOneLineWithACount(t *testing.T) {
	var log testlog.Buffer
	inVirtualTime(t, func(t *testing.T, n *node) {
		clients := []*client{n.connect("a", durable), n.connect("b", durable), n.connect("c", durable)}
		for _, c := range clients {
			c.subscribe(1, "T/+")
		}
		n.store.FailCommits(&store.BrokerError{Broker: "b-1", Err: store.ErrUnavailable})
		n.publish(1, "T/a", "1")
		for _, c := range clients {
			c.gets("1")
		}
		lines := func() []string {
			synctest.Wait()
			return regexp.MustCompile(`(?m)^.*committing sessions' progress failed.*$`).FindAllString(log.String(), -1)
		}
		time.Sleep(20 * time.Second)
		require.Len(t, lines(), 1)
		require.Contains(t, lines()[0], "broker=b-1")
		time.Sleep(20 * time.Second)
		require.Len(t, lines(), 2)
		require.Regexp(t, `times=\d\d`, lines()[1])
		n.store.FailCommits(nil)
	}, func(n *node) { n.options.Log = slog.New(slog.NewTextHandler(&log, nil)) })
}

func TestProgressThatCannotBeCommittedIsTriedAgain(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(1, "T/+")
		n.store.FailCommits(store.ErrUnavailable)
		n.publish(1, "T/a", "1")
		c.gets("1")
		pass(5 * time.Second)
		n.store.FailCommits(nil)
		pass(5 * time.Second)
		n.crash()
		n.publish(1, "T/a", "2")
		c = n.connect("c", durable)
		c.gets("2")
		pass(5 * time.Second)
		n.store.FailCommits(store.ErrUnavailable)
		n.publish(1, "T/a", "3")
		c.gets("3")
		c.leave() // the failed commit is logged, and the session's record has the progress
		n.store.FailCommits(nil)
		n.publish(1, "T/a", "4")
		n.connect("c", durable).gets("4")
	})
}
