package tracing

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Kind says which side of an exchange a span is.
type Kind = trace.SpanKind

// The kinds of spans.
const (
	Consumer = trace.SpanKindConsumer // receives a message
	Producer = trace.SpanKindProducer // sends a message
	Client   = trace.SpanKindClient   // waits for another process
	Server   = trace.SpanKindServer   // answers a client
	Internal = trace.SpanKindInternal
)

// Keys of attributes: those of OpenTelemetry's semantic conventions for messaging, and lmqgate's own.
const (
	System      = "messaging.system"
	Operation   = "messaging.operation.name"
	Destination = "messaging.destination.name"
	Partition   = "messaging.destination.partition.id"
	ClientID    = "messaging.client.id"
	BodySize    = "messaging.message.body.size"
	BatchSize   = "messaging.batch.message_count"
	Peer        = "client.address"
	Listener    = "lmqgate.listener"
	Version     = "lmqgate.mqtt.version"
	QoS         = "lmqgate.mqtt.qos"
	Retain      = "lmqgate.mqtt.retain"
	Code        = "lmqgate.mqtt.reason_code"
	Broker      = "lmqgate.store.broker"
	Offset      = "lmqgate.store.offset"
	QueueTime   = "lmqgate.queue_time_ms"
)

// maxText bounds the text of an attribute, in bytes.
const maxText = 256

// Span is one span that is recorded. A nil Span ignores everything.
type Span struct {
	t *Tracer
	s trace.Span
}

// Text sets an attribute. It keeps a copy, because texts often share memory with a whole packet.
func (s *Span) Text(key, value string) {
	if s != nil {
		s.s.SetAttributes(attribute.String(key, clip(value)))
	}
}

// Number sets an attribute.
func (s *Span) Number(key string, value int64) {
	if s != nil {
		s.s.SetAttributes(attribute.Int64(key, value))
	}
}

// Message sets what describes a message. size is the payload's; the payload itself is never recorded.
func (s *Span) Message(clientID, topic string, qos byte, retain bool, size int) {
	if s == nil {
		return
	}
	s.s.SetAttributes(attribute.String(System, "mqtt"), attribute.String(ClientID, clip(clientID)),
		attribute.String(Destination, clip(topic)), attribute.Int64(QoS, int64(qos)), attribute.Bool(Retain, retain),
		attribute.Int64(BodySize, int64(size)))
}

// Fail marks the span as failed.
func (s *Span) Fail(why string) {
	if s != nil {
		s.s.SetStatus(codes.Error, clip(why))
	}
}

// Child begins a span below this one; nil if there is no room for it.
func (s *Span) Child(name string, kind Kind, at time.Time) *Span {
	if s == nil {
		return nil
	}
	return s.t.begin(trace.ContextWithSpanContext(context.Background(), s.s.SpanContext()), name, kind, at)
}

// Parent returns the traceparent that makes others continue the trace below this span.
func (s *Span) Parent() string {
	c := s.s.SpanContext()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}

// End ends the span. Only the first call counts.
func (s *Span) End() {
	if s != nil {
		s.s.End()
	}
}

// clip copies a text, shortened if it is long.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(strings.Clone(s), "�")
}
