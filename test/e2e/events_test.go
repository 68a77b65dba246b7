package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/events"
)

// eventsTopic keeps the events of this test.
const eventsTopic = "what_happens"

func withEvents(shown bool) settings {
	return settings{"events": settings{"topic": eventsTopic, "mqtt": shown}}
}

// told waits until a client has been told something, and returns the event.
func (c *client) told(what string, is func(e events.Event) bool) (found events.Event) {
	c.t.Helper()
	eventually(c.t, patience, func() error {
		for _, text := range c.payloads() {
			var e events.Event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				return err
			}
			if is(e) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("%s was not told: %s", what, strings.Join(tailOf(c.payloads(), 10), "\n"))
	})
	return found
}

func TestEventsTellWhatHappensToClientsAndSessions(t *testing.T) {
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p, withEvents(true))
		topic := g.Topic("T")
		watcher := g.connect(t, g.Name("watcher"), persistent)
		watcher.subscribe("$events/#", 1)

		id := g.Name("device")
		of := func(kind events.Kind) func(e events.Event) bool {
			return func(e events.Event) bool { return e.Kind == kind && e.ClientID == id }
		}
		device := g.connect(t, id, persistent)
		connected := watcher.told("the connect", of(events.Connected))
		require.Equal(t, []any{user, "tcp", "3.1.1", false},
			[]any{connected.User, connected.Listener, connected.Version, *connected.SessionPresent})
		watcher.told("the new session", of(events.SessionCreated))
		device.subscribe(topic+"/#", 1)
		subscribed := watcher.told("the subscription", of(events.Subscribed))
		require.Equal(t, topic+"/#", subscribed.Filters[0].Filter)
		require.Equal(t, byte(1), *subscribed.Filters[0].QoS)
		newer := g.connect(t, id, persistent)
		watcher.told("the takeover", of(events.SessionTakenOver))
		gone := watcher.told("the disconnect", of(events.Disconnected))
		require.Equal(t, "session taken over", gone.Reason)
		require.Positive(t, gone.BytesIn*gone.BytesOut)
		require.Positive(t, gone.Seconds)

		// While the watcher is away, its events wait.
		watcher.Disconnect(100)
		require.True(t, newer.Unsubscribe(topic+"/#").WaitTimeout(patience))
		intruder := g.connect(t, g.Name("intruder"))
		intruder.Publish("$events/connected", 1, false, "{}")
		select {
		case <-intruder.lost:
		case <-time.After(patience):
			t.Fatal("a client may publish events")
		}
		watcher = g.connect(t, g.Name("watcher"), persistent)
		watcher.told("the end of the subscription", of(events.Unsubscribed))
		dropped := watcher.told("the refusal", func(e events.Event) bool { return e.Kind == events.MessageDropped })
		require.Equal(t, []any{g.Name("intruder"), "$events/connected"}, []any{dropped.ClientID, dropped.Topic})
		require.NotEmpty(t, dropped.Cause)

		if p.name != rocketmqProfile.name {
			return
		}
		app := newApplication(t)
		app.consume(eventsTopic, "MQTT_COMMON")
		last := map[string]uint64{}
		for _, m := range app.await(8) {
			var e events.Event
			require.NoError(t, json.Unmarshal(m.Body, &e))
			require.Equal(t, e.Kind.Topic(), m.GetProperty("originMqttTopic"))
			last[e.Node] = max(last[e.Node], e.Seq)
		}
		require.NotEmpty(t, last)
	})
}

func TestClientsMayNotReadEventsUnlessTheyAreShown(t *testing.T) {
	g := start(t, localProfile, withEvents(false))
	c := g.connect(t, "c")
	require.Equal(t, map[string]byte{"$events/#": 0x80}, c.trySubscribe("$events/#", 1))
	c.subscribe("#", 0)
	eventually(t, patience, func() error {
		_, text := g.Get("/metrics")
		if strings.Contains(text, "\nlmqgate_events_stored_total 0\n") || !strings.Contains(text, "\nlmqgate_events_stored_total ") {
			return fmt.Errorf("no event is stored")
		}
		return nil
	})
	c.publish("T/marker", 1, "marker")
	require.Equal(t, "marker", string(c.await(1)[0].Payload()))
}
