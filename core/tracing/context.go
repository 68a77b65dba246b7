package tracing

import (
	"go.opentelemetry.io/otel/trace"
)

// Names of the user properties, and of the RocketMQ properties, that carry a trace context.
const (
	Parent = "traceparent"
	State  = "tracestate"
)

// maxState bounds a trace state, in bytes, as W3C Trace Context does.
const maxState = 512

// pair is what the types of user properties have in common.
type pair = struct{ Key, Value string }

// Context is the trace context among the user properties of a message. The zero Context is that of a message without one.
type Context struct {
	// Parent and State are the values; empty if there is none. State belongs to Parent.
	Parent, State string
	// unclear: the parent is there several times, or empty.
	unclear bool
}

// ContextOf finds the trace context among user properties.
func ContextOf[P ~pair](user []P) (c Context) {
	parents, states := 0, 0
	for i := range user {
		switch p := pair(user[i]); p.Key {
		case Parent:
			parents++
			c.Parent = p.Value
		case State:
			states++
			c.State = p.Value
		}
	}
	c.unclear = parents > 1 || parents == 1 && c.Parent == ""
	if states > 1 {
		c.State = ""
	}
	return c
}

// Present reports whether there is a context, valid or not.
func (c Context) Present() bool { return c.Parent != "" || c.unclear }

// Valid reports whether there is exactly one parent, and it is valid.
func (c Context) Valid() bool {
	_, ok := parse(c.Parent)
	return ok && !c.unclear
}

// ValidState reports whether a trace state is short enough to be passed on beside a valid parent.
func (c Context) ValidState() bool { return c.State != "" && len(c.State) <= maxState }

// sampled returns the context to continue; ok is false if there is none whose sampled flag is set.
func (c Context) sampled() (trace.SpanContextConfig, bool) {
	out, ok := parse(c.Parent)
	if !ok || c.unclear || !out.TraceFlags.IsSampled() {
		return trace.SpanContextConfig{}, false
	}
	if c.ValidState() {
		if s, err := trace.ParseTraceState(c.State); err == nil {
			out.TraceState = s
		}
	}
	return out, true
}

// parentSize is the size of a traceparent of version 00: version, trace id, span id and flags, joined by hyphens.
const parentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// parse reads a traceparent. Later versions may append more.
func parse(s string) (c trace.SpanContextConfig, ok bool) {
	if len(s) < parentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' || !hex(s[0]) || !hex(s[1]) || s[:2] == "ff" {
		return c, false
	}
	if len(s) > parentSize && (s[:2] == "00" || s[parentSize] != '-') {
		return c, false
	}
	var err error
	if c.TraceID, err = trace.TraceIDFromHex(s[3:35]); err != nil {
		return c, false
	}
	if c.SpanID, err = trace.SpanIDFromHex(s[36:52]); err != nil || !hex(s[53]) || !hex(s[54]) {
		return c, false
	}
	c.TraceFlags = trace.TraceFlags(digit(s[53])<<4 | digit(s[54]))
	c.Remote = true
	return c, true
}

// hex reports whether c is a hexadecimal digit as W3C Trace Context wants them: in lower case.
func hex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// With returns a copy of user properties with another parent. The parent replaces the one that is there, or comes last.
func With[P ~pair](user []P, parent string) []P {
	out := make([]P, len(user), len(user)+1)
	copy(out, user)
	for i := range out {
		if pair(out[i]).Key == Parent {
			out[i] = P(pair{Parent, parent})
			return out
		}
	}
	return append(out, P(pair{Parent, parent}))
}

// Without returns user properties without a trace context, and whether there was one.
func Without[P ~pair](user []P) (out []P, had bool) {
	for i := range user {
		if key := pair(user[i]).Key; key == Parent || key == State {
			had = true
		} else {
			out = append(out, user[i])
		}
	}
	return out, had
}
