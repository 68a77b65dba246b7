package mqtt

import (
	"strconv"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// OpenTelemetry spans of a connection's packets. Nothing is built for packets that are not traced.

// receives begins the span of a PUBLISH; nil if the message is not traced. The span ends when the client has its answer.
func (c *conn) receives(p *packet.Publish) *tracing.Span {
	if !c.srv.o.Spans.On() {
		return nil
	}
	var user []packet.UserProperty
	if p.Properties != nil {
		user = p.Properties.User
	}
	span := c.srv.o.Spans.Begin("receive PUBLISH", tracing.Consumer, tracing.ContextOf(user), time.Now())
	span.Message(c.clientID, p.Topic, p.QoS, p.Retain, len(p.Payload))
	span.Text(tracing.Operation, "receive")
	return span
}

// endSpan ends the span of a PUBLISH whose acknowledgement went out.
func (c *conn) endSpan(k *ack) {
	answer := k.span.Child("send "+k.kind.String(), tracing.Internal, time.Now())
	answer.Text(tracing.System, "mqtt")
	answer.Text(tracing.Operation, "ack")
	answer.Text(tracing.Code, k.code.String())
	if c.out.closed() {
		answer.Fail("the connection is closed")
	}
	answer.End()
	k.span.End()
}

// connects begins the span of a CONNECT; nil if it is not traced.
func (c *conn) connects(cn *packet.Connect) *tracing.Span {
	if !c.srv.o.Spans.On() {
		return nil
	}
	span := c.srv.o.Spans.Root("CONNECT", tracing.Server, c.asked)
	span.Text(tracing.System, "mqtt")
	span.Text(tracing.ClientID, cn.ClientID)
	span.Text(tracing.Peer, c.remote)
	span.Text(tracing.Listener, c.listener)
	span.Text(tracing.Version, strconv.Itoa(int(cn.Version)))
	return span
}

// fitsUntraced takes the trace context out of a PUBLISH that is larger than the client takes, and reports whether it fits then: the gateway
// may have made it larger.
func (c *conn) fitsUntraced(p *packet.Publish) bool {
	if !c.srv.o.Spans.On() || p.Properties == nil {
		return false
	}
	user, had := tracing.Without(p.Properties.User)
	if !had {
		return false
	}
	smaller := *p.Properties
	smaller.User = user
	without := *p
	without.Properties = &smaller
	if c.tooLarge(&without) {
		return false
	}
	p.Properties = &smaller
	return true
}
