package mqtt

import (
	"context"
	"strings"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/trace"
)

// maxReason bounds a reason string, in bytes.
const maxReason = 512

// because makes properties with a reason string (MQTT 5, 2.2.2). It returns nil for clients that do not want reason strings
// [MQTT-3.1.2-29].
func (c *conn) because(reason string) *packet.Properties {
	if c.version != packet.V5 || !c.reasons || reason == "" {
		return nil
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	reason = strings.ToValidUTF8(strings.ReplaceAll(reason, "\x00", ""), "")
	return &packet.Properties{ReasonString: &reason}
}

func (c *conn) tooLarge(p packet.Packet) bool {
	return c.maxSize > 0 && packet.Size(p, c.version) > int(c.maxSize)
}

// encoder returns a function that appends a packet to the outbox.
func (c *conn) encoder(p packet.Packet) func(b []byte) []byte {
	return func(b []byte) []byte {
		c.traced(trace.Out, p)
		out, err := packet.Append(b, p, c.version)
		if err != nil {
			c.log.Error("encoding a packet failed; this is a bug in lmqgate, please report it", "type", p.Type(), "error", err)
			return b
		}
		return out
	}
}

// write puts a packet into the outbox.
func (c *conn) write(p packet.Packet) { c.out.add(c.encoder(p)) }

// accept answers CONNECT with success.
func (c *conn) accept(a *packet.Connack) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.answered = true
	if _, ok := c.out.gather(c.encoder(a)); ok {
		c.out.write()
	}
}

// refuse answers CONNECT with a failure and closes the connection.
func (c *conn) refuse(code packet.Code, reason string) error {
	return c.refuseWith(&packet.Connack{Code: code, Properties: c.because(reason)}, reason)
}

// refuseWith answers CONNECT with a failure, if the answer fits the client's maximum packet size, and closes the connection. cause is for
// operators.
func (c *conn) refuseWith(a *packet.Connack, cause string) error {
	c.noteRefused(a.Code, cause)
	c.place.judging(false) // the connection may be evicted before the client has read the reason: nothing is lost
	if c.tooLarge(a) {
		a.Properties = nil // [MQTT-3.2.2-19]
	}
	last := c.encoder(a)
	if c.tooLarge(a) {
		last = nil
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.closeLocked(last)
	return errEnded
}

// fail closes the connection with a reason and returns what ends the reader.
func (c *conn) fail(code packet.Code, reason string) error {
	c.Close(code, reason)
	return errEnded
}

// Close implements session.Conn.
func (c *conn) Close(code packet.Code, reason string) {
	c.causeMu.Lock()
	if c.cause == "" {
		c.cause, c.closeCode = reason, code
	}
	c.causeMu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	switch owns := c.rights.owns.Load(); {
	case c.lanes == nil:
	case owns != nil && owns.Lost(): // do not trust messages that wait: the client sends them again on its newer connection
		c.lanes.Break()
	default:
		c.lanes.Stop() // before a newer connection of the client publishes
	}
	if c.version != packet.V5 || !c.answered {
		c.out.closeLocked(nil)
		return
	}
	c.out.closeLocked(c.farewell(code, reason))
}

// Settle implements session.Conn.
func (c *conn) Settle(ctx context.Context) error { return c.lanes.Settle(ctx) }

// Withhold implements session.Conn.
func (c *conn) Withhold() { c.lanes.Break() }

// farewell makes the DISCONNECT that precedes the end of a connection. It returns nil if not even the code fits the client's maximum packet
// size.
func (c *conn) farewell(code packet.Code, reason string) func(b []byte) []byte {
	d := &packet.Disconnect{Code: code, Properties: c.because(reason)}
	reference := c.srv.o.ServerReference
	switch {
	case (code == packet.ServerShuttingDown || code == packet.UseAnotherServer) && reference != "":
		d.Code, d.Properties = packet.UseAnotherServer, &packet.Properties{ServerReference: &reference}
	case code == packet.UseAnotherServer: // no other server is configured; the load balancer chooses one
		d.Code = packet.ServerBusy
	}
	if c.tooLarge(d) {
		d.Code, d.Properties = code, nil // [MQTT-3.14.2-3]
	}
	if c.tooLarge(d) {
		return nil
	}
	return c.encoder(d)
}

// SendAck implements session.Conn.
func (c *conn) SendAck(kind packet.Type, id uint16, code packet.Code) {
	reason := ""
	if code == packet.PacketIdentifierNotFound {
		reason = "no message with this packet identifier is under way"
	}
	c.sendAck(kind, id, code, reason)
}

// sendAck sends an acknowledgement with a reason. It leaves the reason out if it does not fit [MQTT-3.4.2-2].
func (c *conn) sendAck(kind packet.Type, id uint16, code packet.Code, reason string) {
	if code.Failed() {
		if p := c.because(reason); p != nil {
			a := &packet.Ack{Kind: kind, PacketID: id, Code: code, Properties: p}
			if !c.tooLarge(a) {
				c.write(a)
				return
			}
		}
	}
	c.tracedAck(kind, id, code)
	c.out.add(func(b []byte) []byte { return packet.AppendAck(b, kind, id, code, c.version) })
}
