package tracing

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options configures a Tracer.
type Options struct {
	// Endpoint is the collector: http://host:port, or https://host:port for TLS.
	Endpoint string
	// Ratio is the share of what has no trace context that is traced, 0 to 1; see SetRatio.
	Ratio float64
	// SpanRate bounds the spans of a second; see SetSpanRate.
	SpanRate int
	// RetryFor is how long a batch is tried again while the collector is away; 0: 5 s. Meanwhile the next spans wait.
	RetryFor time.Duration
	// NodeID and Version describe this process in every span.
	NodeID, Version string
	Log             *slog.Logger
	Registerer      prometheus.Registerer
}

// Tracer makes spans. A nil Tracer makes none.
type Tracer struct {
	ratio    atomic.Uint64 // the bits of a float64
	bound    bound
	metrics  *metrics
	tracer   trace.Tracer
	provider *sdk.TracerProvider
	export   *export
}

// New makes a Tracer. It does not wait for the collector.
func New(o Options) (*Tracer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.RetryFor == 0 {
		o.RetryFor = exportTimeout / 2
	}
	to, err := otlptracegrpc.New(context.Background(), otlptracegrpc.WithEndpointURL(o.Endpoint), otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: o.RetryFor / 5, MaxInterval: o.RetryFor / 2,
			MaxElapsedTime: o.RetryFor}))
	if err != nil {
		return nil, err
	}
	t := &Tracer{metrics: newMetrics(o.Registerer)}
	t.SetRatio(o.Ratio)
	t.SetSpanRate(o.SpanRate)
	t.export = newExport(to, o, t.metrics)
	t.provider = sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(t.export),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "lmqgate"),
			attribute.String("service.instance.id", o.NodeID), attribute.String("service.version", o.Version))))
	t.tracer = t.provider.Tracer("github.com/lmqgate/lmqgate")
	return t, nil
}

// SetRatio changes the share of what has no trace context that is traced.
func (t *Tracer) SetRatio(ratio float64) {
	if t != nil {
		t.ratio.Store(math.Float64bits(ratio))
	}
}

// SetSpanRate changes the bound of the spans of a second.
func (t *Tracer) SetSpanRate(rate int) {
	if t != nil {
		t.bound.most.Store(int64(rate))
	}
}

// Close sends what waits to the collector, for as long as ctx allows, and stops. What is traced later is lost.
func (t *Tracer) Close(ctx context.Context) {
	if t != nil {
		t.export.stop(ctx) // before the provider, which does nothing for a context that has ended
		_ = t.provider.Shutdown(context.WithoutCancel(ctx))
	}
}

// On reports whether there is a Tracer.
func (t *Tracer) On() bool { return t != nil }

// Begin begins the span of a message with the context that it came with, at a time. It returns nil if the message is not to be traced.
func (t *Tracer) Begin(name string, kind Kind, c Context, at time.Time) *Span {
	switch {
	case t == nil:
		return nil
	case c.Present():
		return t.Continue(name, kind, c, at)
	}
	return t.Root(name, kind, at)
}

// Root begins a trace by chance. It returns nil if the chance was not met.
func (t *Tracer) Root(name string, kind Kind, at time.Time) *Span {
	if t == nil {
		return nil
	}
	if ratio := math.Float64frombits(t.ratio.Load()); ratio <= 0 || rand.Float64() >= ratio {
		return nil
	}
	return t.begin(context.Background(), name, kind, at)
}

// Continue begins a span in the trace of a message that is traced. It returns nil for other messages.
func (t *Tracer) Continue(name string, kind Kind, c Context, at time.Time) *Span {
	if t == nil {
		return nil
	}
	parent, ok := c.sampled()
	if !ok {
		return nil
	}
	return t.begin(trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(parent)), name, kind, at)
}

func (t *Tracer) begin(ctx context.Context, name string, kind Kind, at time.Time) *Span {
	if !t.bound.take() {
		t.metrics.overRate.Inc()
		return nil
	}
	_, s := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(at))
	return &Span{t: t, s: s}
}

// bound bounds the spans of a second.
type bound struct {
	most, second, used atomic.Int64
}

// take reports whether there is room for another span. It may be off by a few spans where a second begins.
func (b *bound) take() bool {
	now := time.Now().Unix()
	if s := b.second.Load(); s != now && b.second.CompareAndSwap(s, now) {
		b.used.Store(0)
	}
	return b.used.Add(1) <= b.most.Load()
}
