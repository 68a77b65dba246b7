package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
)

// send publishes a QoS 2 message of a client and waits until it is stored or has failed.
func (c *client) send(id uint16, name, payload string) error {
	done := make(chan error, 1)
	m := &store.Message{Topic: name, Payload: []byte(payload), QoS: 2, Publisher: c.id, Created: time.Now()}
	c.s.Publish(context.Background(), c.lanes, m, id, func(err error) { done <- err })
	return <-done
}

// release sends PUBREL and reports whether the packet id was known.
func (c *client) release(id uint16) (known bool, err error) {
	type answer struct {
		known bool
		err   error
	}
	done := make(chan answer, 1)
	c.s.Release(id, func(known bool, err error) { done <- answer{known, err} })
	a := <-done
	return a.known, a.err
}

func TestAQoS2MessageOfTheClientIsStoredOnceAcrossACrash(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		reader := n.connect("reader", durable)
		reader.subscribe(1, "T/+")
		c := n.connect("c", durable)
		for id := uint16(7); id <= 9; id++ {
			require.NoError(t, c.send(id, "T/a", strconv.Itoa(int(id))))
		}
		require.NoError(t, c.send(9, "T/a", "9"), "the same again")
		known, err := c.release(7)
		require.NoError(t, err)
		require.True(t, known)
		n.crash()
		c = n.connect("c", durable)
		require.NoError(t, c.send(8, "T/a", "8"), "the same again, after the crash")
		require.NoError(t, c.send(7, "T/a", "another"))
		for _, id := range []uint16{7, 8, 9} {
			known, err := c.release(id)
			require.NoError(t, err)
			require.True(t, known)
		}
		known, err = c.release(7)
		require.NoError(t, err)
		require.False(t, known)
		reader = n.connect("reader", durable)
		reader.gets("7", "8", "9", "another")
		pass(time.Second)
		require.Zero(t, reader.waiting())
	})
}

func TestAQoS2MessageReachesTheClientOnceAcrossACrash(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		c.subscribe(2, "T/+", "T/#")
		n.publish(2, "T/a", "released", "received", "done", "sent")
		var all []packet.Publish
		for range 4 {
			all = append(all, c.next())
		}
		for _, i := range []int{0, 2} {
			c.s.Ack(packet.PUBREC, all[i].PacketID, packet.Success)
			c.awaitAck(packet.PUBREL, all[i].PacketID)
		}
		require.True(t, c.s.Ack(packet.PUBCOMP, all[2].PacketID, packet.Success))
		require.False(t, c.s.Ack(packet.PUBCOMP, all[2].PacketID, packet.Success))
		require.False(t, c.s.Ack(packet.PUBREC, 60000, packet.Success))
		require.Equal(t, packet.PacketIdentifierNotFound, c.awaitAck(packet.PUBREL, 60000).Code)
		n.crash()
		c = n.connect("c", durable)
		c.awaitAck(packet.PUBREL, all[0].PacketID)
		require.False(t, c.s.Ack(packet.PUBREC, all[0].PacketID, packet.Success), "again")
		c.awaitAck(packet.PUBREL, all[0].PacketID)
		c.s.Ack(packet.PUBCOMP, all[0].PacketID, packet.Success)
		for _, i := range []int{1, 3} {
			p := c.next()
			require.Equal(t, string(all[i].Payload), string(p.Payload))
			require.Equal(t, all[i].PacketID, p.PacketID)
			c.ack(p)
		}
		pass(5 * time.Second)
		require.Zero(t, c.waiting())
		c.leave()
		require.False(t, c.s.journal.Stale())
	})
}

func TestARetainedQoS2MessageIsForgottenByTheClientAfterACrash(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		m := &store.Message{Topic: "T/a", Payload: []byte("kept"), QoS: 2, Retain: true, Created: time.Now()}
		require.NoError(t, n.pub.One(context.Background(), "p", m))
		c := n.connect("c", durable)
		c.subscribe(2, "T/+")
		p := c.next()
		n.crash()
		c = n.connect("c", durable)
		c.awaitAck(packet.PUBREL, p.PacketID)
		c.s.Ack(packet.PUBCOMP, p.PacketID, packet.Success)
		pass(time.Second)
		require.Zero(t, c.waiting())
	})
}

func TestManyFinishedMessagesAreCommittedBeforeAState(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, func(r *Request) { r.ReceiveMaximum = 1000 })
		c.subscribe(2, "T/+")
		payloads := make([]string, 2*manyFinished)
		for i := range payloads {
			payloads[i] = strconv.Itoa(i)
		}
		n.publish(2, "T/a", payloads...)
		c.gets(payloads...)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		require.LessOrEqual(t, c.s.journal.Finished(), manyFinished+1)
	}, func(n *node) { n.options.CommitInterval = time.Hour })
}

func TestAStateThatCannotBeStoredClosesTheConnection(t *testing.T) {
	for name, fail := range map[string]func(*node, error){
		"the store": func(n *node, err error) { n.store.FailAppends(err) },
		"the record": func(n *node, err error) {
			n.meta.onSave(func(*meta.Session) error { return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				c := n.connect("c", durable)
				c.subscribe(2, "T/+")
				n.publish(2, "T/a", "m")
				p := c.next()
				fail(n, errors.New("broken"))
				c.s.Ack(packet.PUBREC, p.PacketID, packet.Success)
				n.eventually("the connection is closed", c.isClosed)
				require.Equal(t, packet.ImplementationSpecificError, c.code)
				fail(n, nil)
				c.drop()
				c = n.connect("c", durable)
				pass(time.Second)
				require.Zero(t, c.waiting(), "the client has it")
				c.awaitAck(packet.PUBREL, p.PacketID)
				c.s.Ack(packet.PUBCOMP, p.PacketID, packet.Success)
				n.publish(2, "T/a", "another")
				c.gets("another")
			})
		})
	}
}

func TestAMessageWhoseStateCouldNotBeStoredIsSentOnTheNextConnection(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		m := &store.Message{Topic: "T/a", Payload: []byte("kept"), QoS: 2, Retain: true, Created: time.Now()}
		require.NoError(t, n.pub.One(context.Background(), "p", m))
		c := n.connect("c", durable)
		n.store.FailAppends(errors.New("broken"))
		c.subscribe(2, "T/+")
		n.eventually("the connection is closed", c.isClosed)
		n.store.FailAppends(nil)
		c.drop()
		c = n.connect("c", durable)
		p := c.next()
		require.Equal(t, "kept", string(p.Payload))
		require.False(t, p.Dup, "it was not sent before")
		c.ack(p)
		pass(time.Second)
		require.Zero(t, c.waiting())
	})
}

func TestWithoutARecordOfItsJournalAMessageIsTakenOnceWhileTheNodeLives(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		n.meta.onSave(func(*meta.Session) error { return meta.ErrLimit })
		require.NoError(t, c.send(7, "T/a", "m"))
		require.NoError(t, c.send(7, "T/a", "m"))
		known, err := c.release(7)
		require.NoError(t, err)
		require.True(t, known)
		n.meta.onSave(nil)
		n.store.FailAppends(store.ErrTooLarge)
		require.ErrorIs(t, c.send(8, "T/a", "m"), store.ErrTooLarge)
		n.store.FailAppends(nil)
		require.NoError(t, c.send(8, "T/a", "m"), "it was not stored before")
		clean := n.connect("clean", clean)
		require.NoError(t, clean.send(8, "T/a", "m"))
		require.NoError(t, clean.send(8, "T/a", "m"))
	})
}

func TestTheTopicsOfAJournalHaveABound(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable)
		for i := range 70 {
			require.NoError(t, c.send(uint16(i+1), fmt.Sprintf("T%d/a", i), "m"))
		}
		known, err := c.release(70)
		require.NoError(t, err)
		require.True(t, known)
		n.crash()
		c = n.connect("c", durable)
		known, err = c.release(1)
		require.NoError(t, err)
		require.True(t, known)
		known, err = c.release(69)
		require.NoError(t, err)
		require.False(t, known, "over the bound")
	})
}

func TestAJournalThatCannotBeReadDoesNotKeepTheClientOut(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		brokers.add(t, "second")
		c := n.connect("c", durable)
		require.NoError(t, c.send(7, "T/a", "m"))
		n.crash()
		brokers.set(func(c *brokerSet) { c.down["second"] = true })
		c = n.connect("c", durable)
		known, err := c.release(7)
		require.NoError(t, err)
		require.True(t, known, "it is on the broker that answers")
	}, inCluster(&brokers, store.Limits{}))
}

func TestAMessageIsNotTakenForOneWhoseReleaseIsOnABrokerThatIsAway(t *testing.T) {
	var brokers *brokerSet
	inVirtualTime(t, func(t *testing.T, n *node) {
		brokers.add(t, "second")
		reader := n.connect("reader", durable)
		reader.subscribe(1, "T/+")
		c := n.connect("c", durable)
		for _, id := range []uint16{7, 9} {
			require.NoError(t, c.send(id, "T/a", "first"))
		}
		brokers.set(func(c *brokerSet) { c.next = "second" })
		for _, id := range []uint16{7, 9} {
			known, err := c.release(id)
			require.NoError(t, err)
			require.True(t, known)
		}
		brokers.set(func(c *brokerSet) { c.next = local.Broker })
		n.crash()
		brokers.set(func(c *brokerSet) { c.down["second"] = true })
		c = n.connect("c", durable)
		require.NoError(t, c.send(7, "T/a", "second"))
		require.NoError(t, c.send(7, "T/a", "second"), "the same again")
		known, err := c.release(7)
		require.NoError(t, err)
		require.True(t, known)
		require.NoError(t, c.send(8, "T/a", "third")) // a state is stored, which must not name what is in doubt
		known, err = c.release(8)
		require.NoError(t, err)
		require.True(t, known)
		brokers.set(func(c *brokerSet) { c.down["second"] = false })
		n.crash()
		c = n.connect("c", durable)
		require.NoError(t, c.send(9, "T/a", "fourth"))
		reader = n.connect("reader", durable)
		reader.gets("first", "first", "second", "third", "fourth")
	}, inCluster(&brokers, store.Limits{}))
}

// TestAStoredMessageIsRetainedWhenItComesAgain sends a retained QoS 2 message while the metadata takes nothing: it is stored, and neither
// retained nor acknowledged. Whether the node lives on or crashes, the client sends it again, and it is retained without being stored again.
func TestAStoredMessageIsRetainedWhenItComesAgain(t *testing.T) {
	for name, after := range map[string]func(*node){"the node lives": func(*node) {}, "it crashed": (*node).crash} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, n *node) {
				reader := n.connect("reader", durable)
				reader.subscribe(2, "T/+")
				v311 := func(r *Request) { r.Version = packet.V311 }
				c := n.connect("c", durable, v311)
				require.NoError(t, c.send(6, "T/other", "first"))
				reader.gets("first") // the records of both sessions know of their journals
				send := func() error {
					done := make(chan error, 1)
					m := &store.Message{Topic: "T/a", Payload: []byte("kept"), QoS: 2, Retain: true, Publisher: c.id, Created: time.Now()}
					c.s.Publish(context.Background(), c.lanes, m, 7, func(err error) { done <- err })
					return <-done
				}
				n.backend.Fail(true)
				require.Error(t, send())
				n.backend.Fail(false)
				n.eventually("the metadata is back", func() bool { return n.meta.Ready() == nil })
				reader.gets("kept")
				c.drop()
				after(n)
				c = n.connect("c", durable, v311)
				require.NoError(t, send())
				values, _ := n.meta.Retained("T/a")
				require.Len(t, values, 1)
				require.Equal(t, "kept", string(values[0].Message.Payload))
				reader = n.connect("reader", durable)
				pass(time.Second)
				require.Zero(t, reader.waiting(), "it is not stored again")
			})
		})
	}
}

func TestAMessageUnderATakenPacketIDWaitsForTheJournal(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, func(r *Request) { r.ReceiveMaximum = 1000 })
		c.subscribe(2, "T/+")
		// All packet ids but one are taken, so the id that is derived from the record is almost certainly taken as well.
		c.s.mu.Lock()
		for id := range 65535 {
			if id+1 != 77 {
				c.s.out.Reserve(uint16(id + 1))
			}
		}
		c.s.mu.Unlock()
		n.publish(2, "T/a", "m")
		p := c.next()
		require.EqualValues(t, 77, p.PacketID)
		n.crash()
		c = n.connect("c", durable)
		again := c.next()
		require.Equal(t, p.PacketID, again.PacketID)
		c.ack(again)
	})
}
