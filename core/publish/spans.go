package publish

import (
	"strconv"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// Spans of what publishing does. A message that is traced carries its trace context among its user properties.

// carriedRoom is the size of topic and properties, in bytes, up to which a message gets a context of the gateway. A larger one might no
// longer fit a record.
const carriedRoom = 8 << 10

// Carry makes a message carry the context of a span, so that whoever handles the message continues the trace. The message must not have
// been handed over yet.
func Carry(m *store.Message, span *tracing.Span) {
	if span == nil {
		return
	}
	var p store.Properties
	if m.Properties != nil {
		p = *m.Properties
	}
	size := len(m.Topic) + len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
	for _, u := range p.User {
		size += len(u.Key) + len(u.Value)
	}
	if size > carriedRoom {
		return
	}
	p.User = tracing.With(p.User, span.Parent())
	m.Properties = &p
}

// begin begins the span of a message that the gateway itself publishes; nil if the message is not traced.
func (p *Publisher) begin(client string, m *store.Message) *tracing.Span {
	if !p.o.Spans.On() {
		return nil
	}
	span := p.o.Spans.Begin("publish", tracing.Producer, ContextOf(m), time.Now())
	span.Message(client, m.Topic, m.QoS, m.Retain, len(m.Payload))
	span.Text(tracing.Operation, "publish")
	return span
}

// ContextOf returns the trace context that a message carries.
func ContextOf(m *store.Message) tracing.Context { return tracing.ContextOf(m.UserProperties()) }

// trace makes spans of the outcome of an append of n messages.
func (j *job) trace(n int, last store.Position, err error) {
	at := 0
	if j.kept != nil {
		at = j.kept.n
	}
	for i := range n {
		m := j.at(at + i).m
		span := j.p.o.Spans.Continue("append", tracing.Client, ContextOf(m), j.asked)
		if span == nil {
			continue
		}
		span.Message(j.client, m.Topic, m.QoS, m.Retain, len(m.Payload))
		span.Text(tracing.Operation, "append")
		span.Number(tracing.BatchSize, int64(n))
		if err != nil {
			span.Fail(err.Error())
		} else {
			span.Text(tracing.Broker, last.Broker)
			span.Text(tracing.Partition, strconv.Itoa(int(last.Partition)))
		}
		span.End()
	}
}
