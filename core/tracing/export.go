package tracing

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/internal/repeat"
	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// waiting bounds the spans that wait for the collector, batch those that are sent together.
	waiting = 4096
	batch   = 512
	// gather is how long spans are gathered before they are sent.
	gather = time.Second
	// exportTimeout bounds one attempt to send a batch, lastExport the one at the end.
	exportTimeout = 10 * time.Second
	lastExport    = 2 * time.Second
	// tellEvery is how often failures are logged at most.
	tellEvery = time.Minute
)

// export sends ended spans to the collector. It implements sdk.SpanProcessor.
type export struct {
	to      sdk.SpanExporter
	metrics *metrics
	log     *slog.Logger
	address string
	failed  repeat.Line
	queue   chan sdk.ReadOnlySpan
	base    context.Context //nolint:containedctx // ends what is being sent some time after the Tracer closes
	cancel  context.CancelFunc
	once    sync.Once
	closing chan struct{}
	ended   chan struct{}
	last    time.Duration // lastExport, except in tests
}

func newExport(to sdk.SpanExporter, o Options, m *metrics) *export {
	e := &export{to: to, metrics: m, log: o.Log, address: o.Endpoint, queue: make(chan sdk.ReadOnlySpan, waiting),
		closing: make(chan struct{}), ended: make(chan struct{}), last: lastExport}
	e.base, e.cancel = context.WithCancel(context.Background())
	// What a collector remarks about spans that it has taken comes this way; the library would write it to standard error.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { e.log.Debug("a remark about traces", "error", err) }))
	go e.run()
	return e
}

// OnStart implements sdk.SpanProcessor.
func (*export) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It never blocks.
func (e *export) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case e.queue <- s:
	default:
		e.metrics.overQueue.Inc()
	}
}

// ForceFlush implements sdk.SpanProcessor; nobody calls it.
func (*export) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdk.SpanProcessor.
func (e *export) Shutdown(ctx context.Context) error {
	e.stop(ctx)
	return nil
}

// stop sends what waits, within the time that ctx and lastExport leave, and ends the connection. What is lost is counted and logged.
func (e *export) stop(ctx context.Context) {
	e.once.Do(func() {
		close(e.closing)
		defer context.AfterFunc(ctx, e.cancel)()
		defer time.AfterFunc(e.last, e.cancel).Stop()
		<-e.ended
		last, cancel := context.WithTimeout(ctx, e.last)
		defer cancel()
		for rest := e.take(nil); len(rest) > 0 && last.Err() == nil; rest = e.take(rest[:0]) {
			e.send(last, rest)
		}
		_ = e.to.Shutdown(context.WithoutCancel(ctx)) // nothing is being sent, so it does not wait
		e.cancel()
	})
}

func (e *export) run() {
	defer close(e.ended)
	var spans []sdk.ReadOnlySpan
	for {
		select {
		case s := <-e.queue:
			spans = append(spans[:0], s)
		case <-e.closing:
			return
		}
		for due := time.After(gather); len(spans) < batch && due != nil; {
			select {
			case s := <-e.queue:
				spans = append(spans, s)
			case <-due:
				due = nil
			case <-e.closing:
				due = nil
			}
		}
		e.send(e.base, spans)
		clear(spans)
	}
}

// take appends what waits, up to a batch.
func (e *export) take(spans []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	for len(spans) < batch {
		select {
		case s := <-e.queue:
			spans = append(spans, s)
		default:
			return spans
		}
	}
	return spans
}

// send sends spans once. What the collector does not take is lost and counted.
func (e *export) send(ctx context.Context, spans []sdk.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	err := e.to.ExportSpans(ctx, spans)
	if err == nil {
		e.metrics.exported.Add(float64(len(spans)))
		return
	}
	e.metrics.overExport.Add(float64(len(spans)))
	if times, due := e.failed.Due(tellEvery); due {
		e.log.Warn("sending traces to the collector failed; they are lost", "endpoint", e.address, "times", times, "error", err)
	}
}
