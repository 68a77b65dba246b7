package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// manyFilters returns a SUBSCRIBE with the filters numbered from, inclusive, up to to, exclusive.
func manyFilters(name string, from, to int, qos byte) *packet.Subscribe {
	s := &packet.Subscribe{PacketID: 7}
	for i := from; i < to; i++ {
		s.Filters = append(s.Filters, packet.Subscription{Filter: fmt.Sprintf("T/%s/%d/+", name, i), QoS: qos})
	}
	return s
}

// allGranted requires that every code of a SUBACK grants the QoS.
func allGranted(t *testing.T, qos byte, codes []packet.Code) {
	t.Helper()
	for i, code := range codes {
		require.EqualValues(t, qos, code, "filter %d", i)
	}
}

func TestASessionOfThousandsOfFiltersIsTakenWholeAndComesBackWhole(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		const count = 500
		c := n.Connect(v, "c", mqtttest.Keep)
		allGranted(t, 1, c.SubscribeTo(manyFilters("m", 0, count, 1)))
		allGranted(t, 1, c.SubscribeTo(manyFilters("m", 0, count, 1)))
		allGranted(t, 2, c.SubscribeTo(manyFilters("m", 0, 10, 2)))
		n.Crash()
		n.Restart()
		pub := n.Connect(v, "pub")
		pub.Publish(2, "T/m/499/x", "one")
		pub.Publish(2, "T/m/3/x", "two")
		c = n.Connect(v, "c", mqtttest.Keep)
		require.True(t, c.Connack.SessionPresent)
		got := map[string]byte{}
		for range 2 {
			p := mqtttest.Expect[*packet.Publish](c)
			got[string(p.Payload)] = p.QoS
		}
		require.Equal(t, map[string]byte{"one": 1, "two": 2}, got)
		allGranted(t, 1, c.SubscribeTo(manyFilters("m", count, count+1, 1)))
		var names []string
		for _, s := range manyFilters("m", 0, count, 0).Filters {
			names = append(names, s.Filter)
		}
		c.Unsubscribe(names...)
		pub.Publish(1, "T/m/3/x", "gone")
		pub.Publish(1, "T/m/500/x", "last")
		c.Ack(c.ExpectPublish("T/m/500/x", "last"))
		require.Empty(t, c.Ping())
	})
}

func TestAClientIsAdmittedWhateverItsLastConnectionWasDoing(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		ends := map[string]func(*mqtttest.Client){
			"lost":       (*mqtttest.Client).Close,
			"taken over": func(*mqtttest.Client) {},
			"over":       func(c *mqtttest.Client) { c.Send(&packet.Disconnect{}) },
		}
		for name, end := range ends {
			n.Connect(v, name, mqtttest.Keep).Subscribe(1, "T/kept")
			for i := range 8 {
				c := n.Connect(v, name, mqtttest.Keep)
				require.True(t, c.Connack.SessionPresent)
				switch i % 3 {
				case 0:
					c.Send(manyFilters(name, 100*i, 100*(i+1), 1))
				case 1:
					c.Send(manyFilters(name, i, i+1, 1))
				default:
					c.Send(&packet.Unsubscribe{PacketID: 9, Filters: []string{"T/gone", "T/" + name + "/1/+"}})
				}
				end(c)
			}
			c := n.Connect(v, name, mqtttest.Keep)
			require.True(t, c.Connack.SessionPresent)
			n.Connect(v, "pub").Publish(1, "T/kept", name)
			c.Ack(c.ExpectPublish("T/kept", name))
		}
		// A clean start while a SUBSCRIBE is being processed begins a new session.
		c := n.Connect(v, "clean", mqtttest.Keep)
		c.Send(manyFilters("clean", 0, 100, 1))
		c = n.Connect(v, "clean")
		require.False(t, c.Connack.SessionPresent)
		n.Connect(v, "pub").Publish(1, "T/clean/1/x", "m")
		require.Empty(t, c.Ping())
	})
}
