// Package tracing makes OpenTelemetry spans of what happens to messages, and sends them to a collector.
//
// A message carries its trace context in its MQTT 5 user properties traceparent and tracestate (W3C Trace Context). So the context travels
// with the message through the store to every node, and nothing else has to remember it. A message without a context is traced by chance
// (Options.Ratio); a message whose context has the sampled flag is always traced; any other context is passed on and not traced.
//
// A nil *Tracer makes no spans, and a nil *Span ignores what it is told. Both cost nothing.
//
// Clients decide about the sampled flag, so what they can cause is bounded: the spans of a second (Options.SpanRate), and those that wait
// for the collector. What is beyond the bounds is left out and counted, and nothing waits for the collector.
//
// Package trace is something else: packets shown live to an operator.
package tracing
