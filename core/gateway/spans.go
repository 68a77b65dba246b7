package gateway

import (
	"context"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// startSpans prepares OpenTelemetry traces if a collector is configured.
func (g *Gateway) startSpans() (err error) {
	c := g.cfg.Tracing
	if c.Endpoint == "" {
		return nil
	}
	g.spans, err = tracing.New(tracing.Options{Endpoint: c.Endpoint, Ratio: c.Ratio, SpanRate: c.SpanRate, NodeID: g.id, Version: g.version,
		Log: g.log, Registerer: g.registry})
	if err != nil {
		return err
	}
	g.push(func(ctx context.Context) { g.spans.Close(ctx) })
	return nil
}

// applySpans applies what a reload may change.
func (g *Gateway) applySpans(c config.Tracing) {
	g.spans.SetRatio(c.Ratio)
	g.spans.SetSpanRate(c.SpanRate)
}
