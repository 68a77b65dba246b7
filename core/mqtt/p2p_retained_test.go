package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// These tests cover point-to-point topics with retained messages, which are for one client.

func retainedTo(n *mqtttest.Node, client string) []*meta.Retained {
	found, _ := n.Meta.RetainedTo(client)
	return found
}

func TestWhatIsRetainedForAClientReachesNobodyElse(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub, dev := n.Connect(v, "pub"), n.Connect(v, "dev")
		pub.Retain(1, "T/p2p/dev", "secret")
		eventually(t, dev, "secret")
		n.Connect(v, "other", mqtttest.Will(packet.Will{Topic: "T/p2p/dev/", Payload: []byte("will"), QoS: 1, Retain: true})).Close()
		eventually(t, dev, "will")
		mqtttest.Eventually(t, "the will is retained", func() bool { return len(retainedTo(n, "dev")) == 2 })
		for _, filter := range []string{"#", "T/#", "T/p2p/#", "T/p2p/+", "+/p2p/dev", "T/p2p/dev", "T/p2p/dev/", "T/+/+", "+/+/dev/"} {
			for _, options := range [][]mqtttest.Option{nil, {mqtttest.Keep}} {
				spy := n.Connect(v, "spy", options...)
				spy.Subscribe(1, filter)
				require.Empty(t, got(spy), filter)
				spy.Disconnect()
				n.Connect(v, "spy").Disconnect() // a clean start discards the session
			}
		}
		require.Empty(t, got(dev))
	})
}

func TestWhatIsRetainedForAClientIsSentWhenASessionOfItsOwnBegins(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		pub.Retain(1, "T/p2p/dev", "one")
		pub.Retain(1, "T/p2p/dev", "two")
		pub.Retain(1, "/T/p2p/dev", "another topic")
		pub.Retain(1, "T/p2p/a/b", "for a client with an odd id")
		for range 2 { // each clean session is new and gets them again
			dev := n.Connect(v, "dev")
			var have []string
			for range 2 {
				p := mqtttest.Expect[*packet.Publish](dev)
				require.True(t, p.Retain)
				have = append(have, string(p.Payload))
				dev.Ack(p)
			}
			require.ElementsMatch(t, []string{"two", "another topic"}, have)
			require.Empty(t, got(dev))
			pub.Retain(1, "T/p2p/dev", "two")
			eventually(t, dev, "two")
			dev.Disconnect()
		}
		pub.Retain(1, "/T/p2p/dev", "")
		dev := n.Connect(v, "dev", mqtttest.Keep)
		eventually(t, dev, "r two")
		dev.Disconnect()
		pub.Retain(1, "T/p2p/dev", "three")
		dev = n.Connect(v, "dev", mqtttest.Keep)
		eventually(t, dev, "three") // from the queue: a resumed session gets no retained messages again
		dev.Disconnect()
		pub.Retain(1, "T/p2p/dev", "")
		dev = n.Connect(v, "dev", mqtttest.Keep)
		eventually(t, dev, "")
		dev.Disconnect()
		clean := n.Connect(v, "dev")
		require.Empty(t, got(clean))
		odd := n.Connect(v, "a/b")
		eventually(t, odd, "r for a client with an odd id")
	})
}

func TestAClientThatConnectsBesideARetainedMessageToItGetsTheNewestOnce(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]mqtttest.Option{"clean": nil, "persistent": {mqtttest.Keep}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t)
			pub := n.Connect(packet.V5, "pub")
			pub.Retain(1, "T/p2p/dev", "old")
			// A client of the same bucket has just been connected, which keeps the bucket's tail running.
			n.Connect(packet.V5, "dev").Close()
			write := n.HoldRetained()
			retain(pub, "T/p2p/dev", "new")
			mqtttest.Eventually(t, "the tail has brought it", func() bool {
				found := retainedTo(n, "dev")
				return len(found) == 1 && string(found[0].Message.Payload) == "new"
			})
			dev := n.Connect(packet.V5, "dev", options...)
			eventually(t, dev, "r new")
			write()
			mqtttest.Expect[*packet.Ack](pub)
			dev.Close()
			n.Connect(packet.V5, "dev").Close()
			bring := n.Faults.HoldTails()
			defer bring()
			pub.Retain(1, "T/p2p/dev", "newer")
			dev = n.Connect(packet.V5, "dev", options...)
			bring()
			mqtttest.Eventually(t, "the newest came", func() bool {
				m := got(dev)
				return len(m) > 0 && (m[len(m)-1] == "newer" || m[len(m)-1] == "r newer")
			})
			require.Empty(t, got(dev))
		})
	}
}
