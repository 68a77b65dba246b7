// Package tracingtest is an OpenTelemetry collector for tests: a gRPC server in the process that keeps the spans it is sent.
package tracingtest

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is a span as the collector got it.
type Span struct {
	*tracepb.Span
	// Resource are the attributes of the process that made the span.
	Resource map[string]string
}

// Trace is the id of the span's trace. It is hexadecimal, as in a traceparent; so are ID and ParentID.
func (s Span) Trace() string { return hex.EncodeToString(s.TraceId) }

// ID is the span's id.
func (s Span) ID() string { return hex.EncodeToString(s.SpanId) }

// ParentID is the id of the span above it; empty for the first span of a trace.
func (s Span) ParentID() string { return hex.EncodeToString(s.ParentSpanId) }

// Attributes returns the span's attributes as texts.
func (s Span) Attributes() map[string]string {
	out := make(map[string]string)
	for _, a := range s.Span.Attributes {
		out[a.Key] = text(a.Value)
	}
	return out
}

// Failure is the span's status message; empty if it did not fail.
func (s Span) Failure() string {
	if s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		return ""
	}
	return s.Status.Message
}

func text(v fmt.Stringer) string {
	_, value, _ := strings.Cut(v.String(), ":")
	return strings.Trim(value, `"`)
}

// Collector keeps spans.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	server  *grpc.Server
	address string
	// Hold blocks the calls of clients while it is locked.
	Hold sync.RWMutex

	mu    sync.Mutex
	spans []Span
}

// Start starts a collector on loopback that stops when the test ends. address may be empty.
func Start(tb testing.TB, address string) *Collector {
	tb.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", address)
	require.NoError(tb, err)
	c := &Collector{server: grpc.NewServer(), address: ln.Addr().String()}
	collector.RegisterTraceServiceServer(c.server, c)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = c.server.Serve(ln)
	}()
	tb.Cleanup(func() {
		c.server.Stop()
		<-served
	})
	return c
}

// Endpoint is what a Tracer is configured with.
func (c *Collector) Endpoint() string { return "http://" + c.address }

// Export implements the service.
func (c *Collector) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.Hold.RLock()
	defer c.Hold.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		resource := make(map[string]string)
		for _, a := range rs.Resource.GetAttributes() {
			resource[a.Key] = text(a.Value)
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans = append(c.spans, Span{s, resource})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// Spans returns the spans so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Named returns the spans with a name so far.
func (c *Collector) Named(name string) []Span {
	return slices.DeleteFunc(c.Spans(), func(s Span) bool { return s.Name != name })
}

// Await waits for the first span with a name that match accepts; nil accepts any.
func (c *Collector) Await(tb testing.TB, name string, match func(Span) bool) Span {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, s := range c.Named(name) {
			if match == nil || match(s) {
				return s
			}
		}
	}
	tb.Fatalf("no span %q has come; there are %v", name, c.Spans())
	return Span{}
}
