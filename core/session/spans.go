package session

import (
	"time"

	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// delivers begins the span of a delivery; nil if the message is not traced. due is false for what is no part of the message's way: a
// retained message of a new subscription, or a repetition.
func (s *Session) delivers(m *store.Message, qos byte, due bool) *tracing.Span {
	if !due || !s.m.o.Spans.On() {
		return nil
	}
	now := time.Now()
	span := s.m.o.Spans.Continue("deliver PUBLISH", tracing.Producer, publish.ContextOf(m), now)
	if span == nil {
		return nil
	}
	span.Message(s.id, m.Topic, qos, m.Retain, len(m.Payload))
	span.Text(tracing.Operation, "deliver")
	if !m.Created.IsZero() {
		span.Number(tracing.QueueTime, max(now.Sub(m.Created).Milliseconds(), 0))
	}
	return span
}

// delivered ends the span of a delivery.
func delivered(span *tracing.Span, r SendResult) {
	switch r {
	case TooLarge:
		span.Fail("larger than the client takes")
	case Gone:
		span.Fail("the connection is closed")
	}
	span.End()
}
