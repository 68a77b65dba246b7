package mqtt

import (
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/trace"
)

// Tracing of a connection for operators. Every function checks Tracer.On first, so that nothing is built while nobody watches.

// traced shows a packet, in or out.
func (c *conn) traced(what string, p packet.Packet) {
	if !c.srv.o.Tracer.On() {
		return
	}
	e := trace.Entry{What: what, Packet: p.Type().String()}
	code := packet.Success
	switch p := p.(type) {
	case *packet.Connect:
		e.ClientID = p.ClientID
	case *packet.Publish:
		name := p.Topic
		if a := p.Properties; name == "" && a != nil && a.TopicAlias != nil && what == trace.In {
			name = c.aliasesIn.of[*a.TopicAlias]
		}
		e.Topics, e.PacketID, e.QoS, e.Retain, e.Dup, e.Size = []string{name}, p.PacketID, p.QoS, p.Retain, p.Dup, len(p.Payload)
	case *packet.Subscribe:
		e.PacketID = p.PacketID
		for i := range p.Filters {
			e.Topics = append(e.Topics, p.Filters[i].Filter)
		}
	case *packet.Unsubscribe:
		e.PacketID, e.Topics = p.PacketID, p.Filters
	case *packet.Ack:
		e.PacketID, code = p.PacketID, p.Code
	case *packet.Suback:
		codes := make([]string, len(p.Codes))
		for i, c := range p.Codes {
			codes[i] = c.String()
		}
		e.PacketID, e.Reason = p.PacketID, strings.Join(codes, ", ")
	case *packet.Connack:
		code = p.Code
	case *packet.Disconnect:
		code = p.Code
	}
	if code != packet.Success {
		e.Reason = code.String()
	}
	c.tell(e)
}

// tracedAck shows an acknowledgement that was sent.
func (c *conn) tracedAck(kind packet.Type, id uint16, code packet.Code) {
	if c.srv.o.Tracer.On() {
		c.traced(trace.Out, &packet.Ack{Kind: kind, PacketID: id, Code: code})
	}
}

// tracedResult shows a message that was sent, or not sent because of its size.
func (c *conn) tracedResult(p *packet.Publish, r session.SendResult) session.SendResult {
	switch {
	case !c.srv.o.Tracer.On():
	case r == session.TooLarge:
		c.tell(trace.Entry{What: trace.Refused, Packet: "PUBLISH", Topics: []string{p.Topic}, Size: len(p.Payload),
			Reason: "larger than the client takes"})
	case r == session.Sent || r == session.SentFull:
		c.traced(trace.Out, p)
	}
	return r
}

// tracedStored shows that a message from the client is stored.
func (c *conn) tracedStored(m *store.Message) {
	if c.srv.o.Tracer.On() {
		c.tell(trace.Entry{What: trace.Stored, Topics: []string{m.Topic}, QoS: m.QoS, Retain: m.Retain, Size: len(m.Payload),
			Took: time.Since(m.Created).Seconds()})
	}
}

// tracedWhy shows an event that has a reason: a refusal, or the end of the connection.
func (c *conn) tracedWhy(what, name string, reasons ...string) {
	if !c.srv.o.Tracer.On() {
		return
	}
	e := trace.Entry{What: what, Reason: strings.TrimSuffix(strings.Join(reasons, ": "), ": ")}
	if name != "" {
		e.Topics = []string{name}
	}
	c.tell(e)
}

func (c *conn) tell(e trace.Entry) {
	if e.ClientID == "" {
		e.ClientID = c.clientID
	}
	e.Address = c.remote
	c.srv.o.Tracer.Add(e)
}
