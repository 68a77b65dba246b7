package mqtt_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/events"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// told collects the events of a node.
type told struct {
	mu   sync.Mutex
	list []events.Event
}

func (l *told) store(_ context.Context, batch []*store.Message) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range batch {
		var e events.Event
		if err := json.Unmarshal(m.Payload, &e); err != nil {
			return i, err
		}
		l.list = append(l.list, e)
	}
	return len(batch), nil
}

// of returns the events of a kind.
func (l *told) of(kind events.Kind) (out []events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.list {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// tellingNode starts a node whose events are collected.
func tellingNode(t *testing.T) (*mqtttest.Node, *told) {
	t.Helper()
	l := new(told)
	log := events.New(events.Options{Node: "n", Store: l.store})
	log.Start()
	t.Cleanup(func() { log.Close(context.Background()) })
	return mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.Events = log }), l
}

func TestAConnectionTellsOfDroppedMessagesOnceASecondWithTheirNumber(t *testing.T) {
	t.Parallel()
	n, l := tellingNode(t)
	c := n.Dial(packet.V5).Connect("small", func(c *packet.Connect) {
		c.Properties = &packet.Properties{MaximumPacketSize: new(uint32(60))}
	})
	c.Subscribe(1, "T/#", "$events/#")
	p := n.Connect(packet.V5, "p")
	const many = 50
	for range many {
		p.Publish(1, "T/x", strings.Repeat("x", 100))
	}
	p.Publish(1, "$events/x", strings.Repeat("x", 100)) // an event about it would be too large as well
	p.Publish(1, "T/x", "end")
	c.ExpectPublish("T/x", "end")
	c.Disconnect()
	mqtttest.Eventually(t, "the end is told", func() bool { return len(l.of(events.Disconnected)) == 1 })
	sum := int64(0)
	for _, e := range l.of(events.MessageDropped) {
		require.Equal(t, []string{"small", "T/x"}, []string{e.ClientID, e.Topic})
		sum += e.Messages
	}
	require.EqualValues(t, many, sum)
	require.Less(t, len(l.of(events.MessageDropped)), many)
}

func TestNobodyHasAWillAmongTheEvents(t *testing.T) {
	t.Parallel()
	n, _ := tellingNode(t)
	require.Equal(t, packet.TopicNameInvalid, n.Dial(packet.V5).TryConnect("willed", func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: "$events/connected"}
	}).Code)
}

func TestALargeSubscribeIsToldInSeveralEvents(t *testing.T) {
	t.Parallel()
	n, l := tellingNode(t)
	c := n.Connect(packet.V5, "c")
	var filters []string
	for i := range 30 {
		filters = append(filters, "T/"+strings.Repeat("f", 5000)+string(rune('a'+i)))
	}
	c.Subscribe(1, filters...)
	got := func() (out []string) {
		for _, e := range l.of(events.Subscribed) {
			size := 0
			for _, f := range e.Filters {
				out = append(out, f.Filter)
				size += len(f.Filter)
			}
			require.LessOrEqual(t, size, events.FilterBytes)
		}
		return out
	}
	mqtttest.Eventually(t, "all filters are told", func() bool { return len(got()) == len(filters) })
	require.Equal(t, filters, got())
}
