package mqtt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/storetest"
)

// errLate is the error of a store that did not answer in time.
var errLate = fmt.Errorf("the store did not answer: %w", context.DeadlineExceeded)

// burst sends messages of a QoS without waiting for answers. Each message's payload and packet id are its number.
func burst(c *mqtttest.Client, qos byte, retain, dup bool, from, to int) {
	var b []byte
	for i := from; i <= to; i++ {
		p := &packet.Publish{Topic: "T/a", QoS: qos, Retain: retain, Dup: dup, Payload: []byte(strconv.Itoa(i))}
		if qos > 0 {
			p.PacketID = uint16(i)
		}
		b = c.Encode(b, p)
	}
	c.SendRaw(b...)
}

// expectFirst expects the messages with these numbers in this order. It skips copies of messages that came before.
func expectFirst(t *testing.T, c *mqtttest.Client, want ...int) {
	t.Helper()
	seen := make(map[string]bool)
	for _, number := range want {
		for {
			p := mqtttest.Expect[*packet.Publish](c)
			payload := string(p.Payload)
			if seen[payload] {
				continue
			}
			require.Equal(t, strconv.Itoa(number), payload, "the next message that was not seen before")
			seen[payload] = true
			break
		}
	}
}

// received reports whether a client gets so many PUBRECs before its connection ends.
func received(c *mqtttest.Client, count int) bool {
	for ; count > 0; count-- {
		if p, ends := c.NextOrEnd(); ends || p.(*packet.Ack).Kind != packet.PUBREC {
			return false
		}
	}
	return true
}

func reached(t *testing.T, h *storetest.Held) {
	t.Helper()
	select {
	case <-h.Reached:
	case <-time.After(mqtttest.Patience):
		t.Fatal("the append did not begin")
	}
}

// acked returns the packet type that answers a PUBLISH of a QoS.
func acked(qos byte) packet.Type {
	if qos == 2 {
		return packet.PUBREC
	}
	return packet.PUBACK
}

// Proves 3.1.1: [MQTT-4.6.0-6]
// Proves 5.0: [MQTT-4.6.0-5]
func TestNothingOvertakesAMessageThatCouldNotBeStored(t *testing.T) {
	t.Parallel()
	for _, retain := range []bool{false, true} {
		for _, qos := range []byte{0, 1, 2} {
			t.Run(fmt.Sprintf("QoS %d, retain %t", qos, retain), func(t *testing.T) {
				t.Parallel()
				eachVersionHere(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
					sub := n.Connect(v, "sub")
					sub.Subscribe(0, "T/a")
					h := n.Faults.Hold("2")
					pub := n.Connect(v, "pub", mqtttest.Keep)
					burst(pub, qos, retain, false, 1, 8)
					reached(t, h)
					h.End(errLate)
					switch {
					case v == packet.V5 && qos > 0:
						for id := uint16(1); id <= 8; id++ {
							code := packet.Success
							if id == 2 {
								code = packet.ImplementationSpecificError
							}
							pub.ExpectAck(acked(qos), id, code)
						}
						pub.PublishPacket(&packet.Publish{Topic: "T/a", QoS: qos, PacketID: 9, Payload: []byte("2")})
						expectFirst(t, sub, 1, 3, 4, 5, 6, 7, 8, 2)
						return
					case v == packet.V5: // at QoS 0 nobody learns of the failure, and nothing is sent again
						expectFirst(t, sub, 1, 3, 4, 5, 6, 7, 8)
						return
					}
					if qos > 0 {
						pub.ExpectAck(acked(qos), 1, packet.Success)
					}
					pub.ExpectClosed()
					again := n.Connect(v, "pub", mqtttest.Keep)
					burst(again, qos, retain, qos > 0, 2, 8)
					expectFirst(t, sub, 1, 2, 3, 4, 5, 6, 7, 8)
					if qos > 0 {
						for id := uint16(2); id <= 8; id++ {
							again.ExpectAck(acked(qos), id, packet.Success)
						}
					}
					if retain {
						late := n.Connect(v, "late")
						late.Subscribe(0, "T/a")
						require.Equal(t, "8", string(mqtttest.Expect[*packet.Publish](late).Payload))
					}
				})
			})
		}
	}
}

// eachVersionHere is like eachVersion, for tests that have further cases.
func eachVersionHere(t *testing.T, f func(t *testing.T, n *mqtttest.Node, v packet.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, mqtttest.Start(t), v) })
	}
}

// Proves 3.1.1: [MQTT-4.6.0-6]
// Proves 5.0: [MQTT-4.6.0-5]
func TestAClientThatComesBackDoesNotOvertakeItsOldConnection(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		keep     bool  // whether the session is persistent
		takeOver bool  // whether the old connection is still open
		err      error // the result of the append in progress
	}{
		{"the append succeeds", true, false, nil},
		{"the append fails", true, false, errLate},
		{"a takeover, the append succeeds", true, true, nil},
		{"a takeover, the append fails", true, true, errLate},
		{"clean, the append succeeds", false, false, nil},
		{"clean, the append fails", false, false, errLate},
		{"clean, a takeover, the append fails", false, true, errLate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, qos := range []byte{0, 1, 2} {
				t.Run("QoS "+strconv.Itoa(int(qos)), func(t *testing.T) {
					eachVersionHere(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
						comesBack(t, n, v, qos, tc.keep, tc.takeOver, tc.err)
					})
				})
			}
		})
	}
}

func comesBack(t *testing.T, n *mqtttest.Node, v packet.Version, qos byte, keep, takeOver bool, err error) {
	var options []mqtttest.Option
	if keep {
		options = append(options, mqtttest.Keep)
	}
	sub := n.Connect(v, "sub")
	sub.Subscribe(0, "T/a")
	h := n.Faults.Hold("2")
	pub := n.Connect(v, "pub", options...)
	burst(pub, qos, false, false, 1, 8)
	pub.Ping() // so that the server has read everything
	reached(t, h)
	if !takeOver {
		pub.Close()
		mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 1 })
	}
	again := n.Connect(v, "pub", options...)
	resends := keep && qos > 0
	if resends {
		burst(again, qos, false, true, 2, 8)
	}
	burst(again, qos, false, false, 9, 12)
	again.Ping()
	h.End(err)
	switch {
	case resends && qos == 2 && err != nil:
		// The messages that were sent again share the outcome of the first attempt.
		if v == packet.V5 {
			for id := uint16(2); id <= 8; id++ {
				again.ExpectAck(packet.PUBREC, id, packet.ImplementationSpecificError)
			}
			burst(again, qos, false, false, 2, 8)
			expectFirst(t, sub, 1, 9, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8)
			return
		}
		again.ExpectClosed()
		// What that connection sent may still be about to be withheld. A message that comes again meanwhile shares this outcome, and its
		// client is closed once more.
		for kept := false; !kept; {
			again = n.Connect(v, "pub", options...)
			burst(again, qos, false, true, 2, 12)
			kept = received(again, 11)
		}
		expectFirst(t, sub, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	case resends || err == nil:
		expectFirst(t, sub, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	default: // nobody was told, so nobody sends them again
		expectFirst(t, sub, 1, 9, 10, 11, 12)
	}
}

// Proves 3.1.1: [MQTT-4.6.0-6]
// Proves 5.0: [MQTT-4.6.0-5]
func TestAWillComesBehindTheLastMessages(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errLate} {
		t.Run(fmt.Sprint(err), func(t *testing.T) {
			eachVersionHere(t, func(t *testing.T, n *mqtttest.Node, v packet.Version) {
				sub := n.Connect(v, "sub")
				sub.Subscribe(0, "T/a")
				h := n.Faults.Hold("1")
				pub := n.Connect(v, "pub", mqtttest.Will(packet.Will{Topic: "T/a", Payload: []byte("4"), QoS: 1}))
				burst(pub, 1, false, false, 1, 3)
				pub.Ping()
				reached(t, h)
				pub.Close()
				mqtttest.Eventually(t, "the connection is gone", func() bool { return n.Server.Connections() == 1 })
				h.End(err)
				if err == nil {
					expectFirst(t, sub, 1, 2, 3, 4)
					return
				}
				expectFirst(t, sub, 4)
			})
		})
	}
}

// The client keeps 16 messages in flight while the store fails now and then. Whenever it is disconnected, it reconnects and sends the
// unacknowledged messages again.
//
// Proves 3.1.1: [MQTT-4.6.0-6]
func TestFirstDeliveriesStayInOrderOverAStoreThatFails(t *testing.T) {
	t.Parallel()
	const messages, window = 300, 16
	for _, qos := range []byte{1, 2} {
		t.Run("QoS "+strconv.Itoa(int(qos)), func(t *testing.T) {
			t.Parallel()
			n := mqtttest.Start(t)
			sub := n.Connect(packet.V5, "sub")
			sub.Subscribe(0, "T/a")
			n.Faults.JudgeAppends(func(_ context.Context, m *store.Message) error {
				if m.Topic == "T/a" && rand.IntN(50) == 0 {
					return errLate
				}
				return nil
			})
			first, next, dup := 1, 1, false // first unacknowledged, first unsent
			for first <= messages {
				pub := n.Connect(packet.V311, "pub", mqtttest.Keep)
				burst(pub, qos, false, dup, first, next-1)
				for first <= messages {
					to := min(first+window-1, messages)
					if next <= to {
						if pub.TrySendRaw(encoded(pub, qos, next, to)...) != nil {
							break
						}
						next = to + 1
					}
					p, err := pub.Receive(mqtttest.Patience)
					if err != nil {
						break
					}
					a, ok := p.(*packet.Ack)
					require.True(t, ok)
					if a.Kind == acked(qos) {
						require.EqualValues(t, first, a.PacketID)
						first++
						if qos == 2 {
							_ = pub.TrySendRaw(pub.Encode(nil, &packet.Ack{Kind: packet.PUBREL, PacketID: a.PacketID})...)
						}
					}
				}
				pub.Close()
				dup = true
			}
			all := make([]int, messages)
			for i := range all {
				all[i] = i + 1
			}
			expectFirst(t, sub, all...)
		})
	}
}

func encoded(c *mqtttest.Client, qos byte, from, to int) (b []byte) {
	for i := from; i <= to; i++ {
		b = c.Encode(b, &packet.Publish{Topic: "T/a", QoS: qos, PacketID: uint16(i), Payload: []byte(strconv.Itoa(i))})
	}
	return b
}
