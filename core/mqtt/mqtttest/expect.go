package mqtttest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// next waits for the next packet, or for the end of the connection.
func (c *Client) next(wait time.Duration) (received, bool) {
	if len(c.peeked) > 0 {
		r := c.peeked[0]
		c.peeked = c.peeked[1:]
		return r, true
	}
	return c.take(wait)
}

// take returns the next packet that was not peeked at.
func (c *Client) take(wait time.Duration) (received, bool) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case r := <-c.in:
		return r, true
	case <-t.C:
		return received{}, false
	}
}

// Next returns the next packet.
func (c *Client) Next() packet.Packet {
	c.tb.Helper()
	r, ok := c.next(Patience)
	if !ok {
		c.tb.Fatalf("no packet came within %s", Patience)
	}
	require.NoError(c.tb, r.err, "a packet was expected")
	return r.p
}

// NextOrEnd returns the next packet, or that the connection has ended.
func (c *Client) NextOrEnd() (p packet.Packet, ends bool) {
	c.tb.Helper()
	r, ok := c.next(Patience)
	if !ok {
		c.tb.Fatalf("neither a packet nor the end of the connection came within %s", Patience)
	}
	return r.p, r.err != nil
}

// Expect returns the next packet and requires that it is of type T.
func Expect[T packet.Packet](c *Client) T {
	c.tb.Helper()
	p := c.Next()
	out, ok := p.(T)
	if !ok {
		c.tb.Fatalf("got %s, expected %T", show(p), out)
	}
	return out
}

func show(p packet.Packet) string {
	s := fmt.Sprintf("%s %+v", p.Type(), p)
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// ExpectAck expects a PUBACK, PUBREC, PUBREL or PUBCOMP for a packet id.
func (c *Client) ExpectAck(kind packet.Type, id uint16, code packet.Code) {
	c.tb.Helper()
	a := Expect[*packet.Ack](c)
	require.Equal(c.tb, [3]any{kind, id, code}, [3]any{a.Kind, a.PacketID, a.Code}, "kind, packet id and code of an acknowledgement")
}

// ExpectPublish expects a message with the given topic and payload.
func (c *Client) ExpectPublish(topic, payload string) *packet.Publish {
	c.tb.Helper()
	p := Expect[*packet.Publish](c)
	require.Equal(c.tb, [2]string{topic, payload}, [2]string{p.Topic, string(p.Payload)}, "topic and payload")
	return p
}

// ExpectDisconnect expects the server to end the connection: with DISCONNECT and a code in MQTT 5, silently in earlier versions.
func (c *Client) ExpectDisconnect(code packet.Code) {
	c.tb.Helper()
	if c.Version == packet.V5 {
		d := Expect[*packet.Disconnect](c)
		require.Equal(c.tb, code, d.Code, "code of DISCONNECT")
	}
	c.ExpectClosed()
}

// ExpectClosed expects the server to close the connection without another packet.
func (c *Client) ExpectClosed() {
	c.tb.Helper()
	r, ok := c.next(Patience)
	if !ok {
		c.tb.Fatalf("the connection was not closed within %s", Patience)
	}
	if r.err == nil {
		c.tb.Fatalf("got %s, expected the end of the connection", show(r.p))
	}
	c.peeked = append(c.peeked, r)
}

// Quiet is how long ExpectNothing looks.
const Quiet = 100 * time.Millisecond

// ExpectNothing fails if anything arrives within a short time. It can miss what arrives late. If a later message is sure to follow the
// unwanted one, expect that message instead.
func (c *Client) ExpectNothing() {
	c.tb.Helper()
	if r, ok := c.next(Quiet); ok {
		if r.err != nil {
			c.tb.Fatalf("nothing was expected, and the connection ended: %v", r.err)
		}
		c.tb.Fatalf("got %s, expected nothing", show(r.p))
	}
}

// Ping sends PINGREQ and returns the packets before its answer: everything that the server had written until then.
func (c *Client) Ping() []packet.Packet {
	c.tb.Helper()
	c.Send(&packet.Pingreq{})
	var before []packet.Packet
	for {
		p := c.Next()
		if _, ok := p.(*packet.Pingresp); ok {
			return before
		}
		before = append(before, p)
	}
}

// Subscribe subscribes to filters at a QoS and expects exactly that QoS to be granted.
func (c *Client) Subscribe(qos byte, filters ...string) {
	c.tb.Helper()
	s := &packet.Subscribe{PacketID: c.NextID()}
	var want []packet.Code
	for _, f := range filters {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: qos})
		want = append(want, packet.Code(qos))
	}
	require.Equal(c.tb, want, c.SubscribeTo(s))
}

// SubscribeTo sends SUBSCRIBE and returns the codes of SUBACK. Messages may come before it (MQTT 5, 3.8.4).
func (c *Client) SubscribeTo(s *packet.Subscribe) []packet.Code {
	c.tb.Helper()
	if s.PacketID == 0 {
		s.PacketID = c.NextID()
	}
	c.Send(s)
	c.passMessages()
	a := Expect[*packet.Suback](c)
	require.Equal(c.tb, s.PacketID, a.PacketID, "packet id of SUBACK")
	return a.Codes
}

// Unsubscribe unsubscribes and returns the codes of UNSUBACK (MQTT 5).
func (c *Client) Unsubscribe(filters ...string) []packet.Code {
	c.tb.Helper()
	u := &packet.Unsubscribe{PacketID: c.NextID(), Filters: filters}
	c.Send(u)
	c.passMessages()
	a := Expect[*packet.Unsuback](c)
	require.Equal(c.tb, u.PacketID, a.PacketID, "packet id of UNSUBACK")
	return a.Codes
}

// Publish publishes a message. At QoS 1 and 2 it waits until the server has acknowledged the message.
func (c *Client) Publish(qos byte, topic, payload string) {
	c.tb.Helper()
	c.publish(qos, false, topic, payload)
}

// Retain is Publish for a retained message.
func (c *Client) Retain(qos byte, topic, payload string) {
	c.tb.Helper()
	c.publish(qos, true, topic, payload)
}

func (c *Client) publish(qos byte, retain bool, topic, payload string) {
	c.tb.Helper()
	c.PublishPacket(&packet.Publish{QoS: qos, Retain: retain, Topic: topic, Payload: []byte(payload)})
}

// PublishPacket sends a PUBLISH, with a packet id if it has none, and completes its acknowledgements.
func (c *Client) PublishPacket(p *packet.Publish) {
	c.tb.Helper()
	if p.QoS > 0 && p.PacketID == 0 {
		p.PacketID = c.NextID()
	}
	c.Send(p)
	if p.QoS > 0 {
		c.passMessages()
	}
	switch p.QoS {
	case 1:
		c.ExpectAck(packet.PUBACK, p.PacketID, packet.Success)
	case 2:
		c.ExpectAck(packet.PUBREC, p.PacketID, packet.Success)
		c.Send(&packet.Ack{Kind: packet.PUBREL, PacketID: p.PacketID})
		c.passMessages()
		c.ExpectAck(packet.PUBCOMP, p.PacketID, packet.Success)
	}
}

// passMessages keeps messages that arrive before the next packet of another type for later: live messages may arrive before any
// acknowledgement.
func (c *Client) passMessages() {
	c.tb.Helper()
	for {
		r, ok := c.take(Patience)
		if !ok {
			return // the caller that expects the packet reports it
		}
		if _, message := r.p.(*packet.Publish); !message {
			c.peeked = append([]received{r}, c.peeked...)
			return
		}
		c.peeked = append(c.peeked, r)
	}
}

// Ack acknowledges a message completely, according to its QoS.
func (c *Client) Ack(p *packet.Publish) {
	c.tb.Helper()
	switch p.QoS {
	case 1:
		c.Send(&packet.Ack{Kind: packet.PUBACK, PacketID: p.PacketID})
	case 2:
		c.Send(&packet.Ack{Kind: packet.PUBREC, PacketID: p.PacketID})
		c.passMessages()
		c.ExpectAck(packet.PUBREL, p.PacketID, packet.Success)
		c.Send(&packet.Ack{Kind: packet.PUBCOMP, PacketID: p.PacketID})
	}
}

// Receive returns the next packet, or an error if none arrives in time or the connection ends. Unlike the other methods, it may be called
// from any goroutine.
func (c *Client) Receive(wait time.Duration) (packet.Packet, error) {
	r, ok := c.next(wait)
	if !ok {
		return nil, fmt.Errorf("no packet came within %s", wait)
	}
	return r.p, r.err
}
