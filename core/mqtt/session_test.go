package mqtt_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
)

// release sends PUBREL, which follows a PUBREC, and expects PUBCOMP.
func release(c *mqtttest.Client, id uint16) {
	c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: id})
	c.ExpectAck(packet.PUBCOMP, id, packet.Success)
}

// Proves 3.1.1: [MQTT-3.1.4-2] [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
// Proves 5.0: [MQTT-3.1.4-3] [MQTT-3.3.1-1] [MQTT-4.4.0-1]
func TestTakeoverClosesTheOldConnectionAndRedeliversToTheNew(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		old := n.Connect(v, "dup", mqtttest.Keep)
		old.Subscribe(2, "T/#")
		var first []*packet.Publish
		for i := range 6 {
			pub.Publish(byte(1+i%2), "T/a", strconv.Itoa(i))
			p := old.ExpectPublish("T/a", strconv.Itoa(i))
			require.False(t, p.Dup)
			require.EqualValues(t, 1+i%2, p.QoS)
			first = append(first, p)
		}
		now := n.Connect(v, "dup", mqtttest.Keep)
		old.ExpectDisconnect(packet.SessionTakenOver)
		require.True(t, now.Connack.SessionPresent)
		for i, f := range first {
			p := now.ExpectPublish("T/a", strconv.Itoa(i))
			require.True(t, p.Dup, "message %d", i)
			require.Equal(t, f.PacketID, p.PacketID, "message %d", i)
			require.Equal(t, f.QoS, p.QoS)
		}
		for _, p := range first {
			now.Ack(p)
		}
		pub.Publish(1, "T/a", "new")
		p := now.ExpectPublish("T/a", "new")
		require.False(t, p.Dup)
	})
}

// Proves 3.1.1: [MQTT-3.1.2-6] [MQTT-3.1.4-3] [MQTT-3.2.2-1]
// Proves 5.0: [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]
func TestACleanConnectTakesOverAndDiscardsTheState(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		pub := n.Connect(v, "pub")
		old := n.Connect(v, "dup", mqtttest.Keep)
		old.Subscribe(1, "T/#")
		pub.Publish(1, "T/a", "1")
		old.ExpectPublish("T/a", "1")
		live := n.Connect(v, "live")
		live.Subscribe(0, "T/#")
		now := n.Connect(v, "dup")
		old.ExpectDisconnect(packet.SessionTakenOver)
		require.False(t, now.Connack.SessionPresent)
		pub.Publish(1, "T/a", "2")
		live.ExpectPublish("T/a", "2") // so that it is stored before the next subscription begins
		now.Subscribe(1, "T/#")
		pub.Publish(1, "T/a", "3")
		p := now.ExpectPublish("T/a", "3")
		require.False(t, p.Dup)
		now.Ack(p)
		now.Disconnect()
		again := n.Connect(v, "dup", mqtttest.Keep)
		require.False(t, again.Connack.SessionPresent, "a clean session leaves nothing behind")
	})
}

// Proves 3.1.1: [MQTT-3.1.2-4] [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
// Proves 5.0: [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
func TestSessionPresentTellsWhetherThereIsState(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		require.False(t, c.Connack.SessionPresent)
		c.Disconnect()
		c = n.Connect(v, "c", mqtttest.Keep)
		require.True(t, c.Connack.SessionPresent)
		c.Close()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		require.True(t, c.Connack.SessionPresent, "after a clean restart")
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		require.True(t, c.Connack.SessionPresent, "after a crash")
		c.Disconnect()
		c = n.Connect(v, "c")
		require.False(t, c.Connack.SessionPresent)
		c.Disconnect()
		c = n.Connect(v, "c", mqtttest.Keep)
		require.False(t, c.Connack.SessionPresent)
	})
}

// Proves 3.1.1: [MQTT-3.1.2-5] [MQTT-4.1.0-1] [MQTT-4.5.0-1]
// Proves 5.0: [MQTT-3.1.2-23] [MQTT-4.5.0-1]
func TestASleepingSessionGetsWhatCameMeanwhileInOrder(t *testing.T) {
	for _, how := range []string{"disconnect", "drop", "restart", "crash"} {
		t.Run(how, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
				c := n.Connect(v, "sleeper", mqtttest.Keep)
				c.Subscribe(2, "T/#")
				c.Subscribe(1, "U/+")
				switch how {
				case "disconnect":
					c.Disconnect()
				case "drop":
					c.Close()
				case "restart":
					n.Restart()
				case "crash":
					n.Crash()
					n.Restart()
				}
				mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 0 })
				pub := n.Connect(v, "pub")
				for i := range 100 { // the last has QoS 1: once it is acknowledged, those of QoS 0 before it are stored, too
					pub.Publish(byte((i+1)%3), "T/a", strconv.Itoa(i))
				}
				switch how {
				case "restart":
					n.Restart()
				case "crash":
					n.Crash()
					n.Restart()
				}
				c = n.Connect(v, "sleeper", mqtttest.Keep)
				require.True(t, c.Connack.SessionPresent)
				for i := range 100 {
					p := c.ExpectPublish("T/a", strconv.Itoa(i))
					require.EqualValues(t, (i+1)%3, p.QoS)
					require.False(t, p.Dup)
					if p.QoS == 1 { // messages of QoS 2 stay in flight
						c.Ack(p)
					}
				}
			})
		})
	}
}

// Proves 3.1.1: [MQTT-4.3.2-1]
// Proves 5.0: [MQTT-4.3.2-3]
func TestWhatWasNotAcknowledgedComesAgainAfterACrashAndNothingElse(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
		c := n.Connect(v, "c", mqtttest.Keep)
		c.Subscribe(2, "T/a", "T/#", "+/a")
		pub := n.Connect(v, "pub")
		for i := range 20 {
			pub.Publish(byte(1+i%2), "T/a", strconv.Itoa(i))
			p := c.ExpectPublish("T/a", strconv.Itoa(i))
			if i < 15 {
				c.Ack(p)
			}
		}
		require.Empty(t, c.Ping())
		mqtttest.Eventually(t, "progress is committed", func() bool { return n.Lag("c", "T/a") == 5 && n.Lag("c", "T/#") == 5 && n.Lag("c", "+/a") == 5 })
		n.Crash()
		n.Restart()
		c = n.Connect(v, "c", mqtttest.Keep)
		var open []*packet.Publish
		for i := 15; i < 20; i++ {
			open = append(open, c.ExpectPublish("T/a", strconv.Itoa(i)))
		}
		for _, p := range open {
			c.Ack(p)
		}
		n.Connect(v, "pub").Publish(1, "T/a", "end")
		c.ExpectPublish("T/a", "end")
	})
}

// Two filters can share a queue. An acknowledgement for one of them says nothing about the other.
//
// Proves 3.1.1: [MQTT-4.7.3-4]
func TestFiltersThatShareAQueueKeepTheirProgressApart(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	c := n.Connect(packet.V311, "c", mqtttest.Keep)
	c.Subscribe(1, "T/a", "T/a/", "U/x")
	pub := n.Connect(packet.V311, "pub")
	pub.Publish(1, "T/a/", "open")
	c.ExpectPublish("T/a/", "open")
	for range 3 {
		pub.Publish(1, "T/a", "done")
		c.Ack(c.ExpectPublish("T/a", "done"))
	}
	pub.Publish(1, "U/x", "")
	c.Ack(c.ExpectPublish("U/x", ""))
	mqtttest.Eventually(t, "progress is committed", func() bool { return n.Lag("c", "U/x") == 0 })
	n.Crash()
	n.Restart()
	c = n.Connect(packet.V311, "c", mqtttest.Keep)
	for {
		// The queue has one committed offset, so later messages on the other topic may come again.
		p := mqtttest.Expect[*packet.Publish](c)
		c.Ack(p)
		if p.Topic == "T/a/" {
			require.Equal(t, "open", string(p.Payload))
			return
		}
	}
}

// Proves 5.0: [MQTT-4.4.0-1]
func TestWhatWasAcknowledgedDoesNotComeAgainWhereFiltersShareAQueue(t *testing.T) {
	t.Parallel()
	ends := map[string]func(n *mqtttest.Node, c *mqtttest.Client){
		"DISCONNECT":   func(_ *mqtttest.Node, c *mqtttest.Client) { c.Disconnect() },
		"a lost link":  func(_ *mqtttest.Node, c *mqtttest.Client) { c.Close() },
		"a takeover":   func(*mqtttest.Node, *mqtttest.Client) {},
		"a restart":    func(n *mqtttest.Node, _ *mqtttest.Client) { n.Restart() },
		"a later link": func(n *mqtttest.Node, c *mqtttest.Client) { c.Close(); n.Connect(packet.V5, "other").Ping() },
	}
	for how, end := range ends {
		for _, filters := range [][2]string{{"T/a", "T/a/"}, {"T/a/", "T/a"}, {"T/+", "T/+/"}} {
			t.Run(how+" "+filters[0]+" "+filters[1], func(t *testing.T) {
				t.Parallel()
				n := mqtttest.Start(t)
				c := n.Connect(packet.V5, "c", mqtttest.Resume, mqtttest.Expiry(60))
				c.Subscribe(1, filters[0], filters[1])
				for i := range 6 {
					name := []string{"T/a", "T/a/"}[i/3]
					n.Connect(packet.V5, "pub").Publish(1, name, strconv.Itoa(i))
					c.Ack(c.ExpectPublish(name, strconv.Itoa(i)))
				}
				require.Empty(t, c.Ping())
				end(n, c)
				c = n.Connect(packet.V5, "c", mqtttest.Resume, mqtttest.Expiry(60))
				require.True(t, c.Connack.SessionPresent)
				n.Connect(packet.V5, "pub").Publish(1, "T/a", "next")
				c.Ack(c.ExpectPublish("T/a", "next"))
			})
		}
	}
}

// Proves 5.0: [MQTT-3.1.2-23] [MQTT-4.1.0-2]
func TestASessionEndsWhenItsExpiryHasPassed(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Resume, mqtttest.Expiry(60))
	c.Subscribe(1, "T/#")
	c.Close()
	pub.Publish(1, "T/a", "1")
	c = n.Connect(packet.V5, "c", mqtttest.Resume, mqtttest.Expiry(1))
	require.True(t, c.Connack.SessionPresent)
	c.Ack(c.ExpectPublish("T/a", "1"))
	c.Disconnect()
	mqtttest.Eventually(t, "the record is gone", func() bool { s, err := n.Meta.LoadSession(t.Context(), "c"); return err == nil && s == nil })
	c = n.Connect(packet.V5, "c", mqtttest.Resume, mqtttest.Expiry(1))
	require.False(t, c.Connack.SessionPresent)
	c.Disconnect()

	c = n.Connect(packet.V5, "zero", mqtttest.Resume) // no expiry: it ends with the connection
	c.Close()
	c = n.Connect(packet.V5, "zero", mqtttest.Resume)
	require.False(t, c.Connack.SessionPresent)
}

// Proves 5.0: [MQTT-4.1.0-2]
func TestDisconnectChangesTheSessionExpiry(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	seconds := func(s uint32) *packet.Disconnect {
		return &packet.Disconnect{Properties: &packet.Properties{SessionExpiryInterval: &s}}
	}
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Send(seconds(0))
	c.ExpectClosed()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	require.False(t, c.Connack.SessionPresent, "lowered to 0, it ended with the connection")
	c.Send(seconds(7200))
	c.ExpectClosed()
	c = n.Connect(packet.V5, "c", mqtttest.Keep)
	require.True(t, c.Connack.SessionPresent)
	c.Send(seconds(1))
	c.ExpectClosed()
	mqtttest.Eventually(t, "the record is gone", func() bool { s, err := n.Meta.LoadSession(t.Context(), "c"); return err == nil && s == nil })

	c = n.Connect(packet.V5, "zero")
	c.Send(seconds(10))
	c.ExpectDisconnect(packet.ProtocolError)
}

// Proves 5.0: [MQTT-4.1.0-2]
func TestTheServerBoundsTheSessionExpiryAndSaysSo(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t, func(c *mqtttest.Config) { c.MQTT.SessionExpiryMax = time.Second })
	c := n.Connect(packet.V5, "c", mqtttest.Expiry(0xFFFFFFFF))
	require.EqualValues(t, 1, *c.Connack.Properties.SessionExpiryInterval)
	c.Disconnect()
	c = n.Connect(packet.V311, "c3", mqtttest.Keep)
	c.Disconnect()
	mqtttest.Eventually(t, "the records are gone", func() bool {
		a, err := n.Meta.LoadSession(t.Context(), "c")
		b, err3 := n.Meta.LoadSession(t.Context(), "c3")
		return err == nil && err3 == nil && a == nil && b == nil
	})
	c = n.Connect(packet.V5, "c", mqtttest.Expiry(1))
	require.Nil(t, c.Connack.Properties.SessionExpiryInterval, "what was asked for is what holds")
}

// Proves 3.1.1: [MQTT-3.1.2-4]
// Proves 5.0: [MQTT-3.1.2-5]
func TestASessionGoesFromOneProtocolVersionToAnother(t *testing.T) {
	t.Parallel()
	n := mqtttest.Start(t)
	pub := n.Connect(packet.V5, "pub")
	c := n.Connect(packet.V5, "c", mqtttest.Keep)
	c.Subscribe(2, "T/#")
	pub.Publish(2, "T/a", "1")
	five := c.ExpectPublish("T/a", "1")
	c.Close()
	c = n.Connect(packet.V311, "c", mqtttest.Keep)
	require.True(t, c.Connack.SessionPresent)
	p := c.ExpectPublish("T/a", "1")
	require.Equal(t, five.PacketID, p.PacketID)
	c.Ack(p)
	c.Disconnect()
	c = n.Connect(packet.V5, "c", mqtttest.Resume)
	require.True(t, c.Connack.SessionPresent)
	c.Disconnect()
	c = n.Connect(packet.V5, "c", mqtttest.Resume)
	require.False(t, c.Connack.SessionPresent, "without an expiry it ended with the connection")
}
