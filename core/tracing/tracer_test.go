package tracing_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/core/tracing/tracingtest"
	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

var sampled = tracing.Context{Parent: parent, State: "vendor=1"}

// start makes a Tracer, and returns a function that reads one of its counters.
func start(t *testing.T, o tracing.Options) (*tracing.Tracer, func(name, reason string) float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	o.Registerer = r
	if o.SpanRate == 0 {
		o.SpanRate = 1_000_000
	}
	tracer, err := tracing.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { tracer.Close(context.Background()) })
	return tracer, func(name, reason string) float64 {
		families, err := r.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == "lmqgate_tracing_"+name && (reason == "" || m.Label[0].GetValue() == reason) {
					return m.Counter.GetValue()
				}
			}
		}
		t.Fatalf("there is no counter %s %s", name, reason)
		return 0
	}
}

func TestASpanReachesTheCollectorWithWhatDescribesIt(t *testing.T) {
	c := tracingtest.Start(t, "")
	tracer, counter := start(t, tracing.Options{Endpoint: c.Endpoint(), NodeID: "n1", Version: "1.2.3"})
	began := time.Now().Add(-time.Second)
	s := tracer.Begin("receive PUBLISH", tracing.Consumer, sampled, began)
	require.NotNil(t, s)
	s.Message("client", "T/"+strings.Repeat("a", 10_000), 1, true, 17)
	child := s.Child("append", tracing.Client, time.Now())
	child.Fail("no broker")
	child.End()
	s.End()
	s.End()
	got := c.Await(t, "receive PUBLISH", nil)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", got.Trace())
	require.Equal(t, "b7ad6b7169203331", got.ParentID())
	require.Equal(t, "vendor=1", got.TraceState)
	require.Equal(t, uint64(began.UnixNano()), got.StartTimeUnixNano)
	require.Equal(t, map[string]string{"service.name": "lmqgate", "service.instance.id": "n1", "service.version": "1.2.3"}, got.Resource)
	a := got.Attributes()
	require.Equal(t, "client", a[tracing.ClientID])
	require.Equal(t, "17", a[tracing.BodySize])
	require.Len(t, a[tracing.Destination], 256)
	below := c.Await(t, "append", nil)
	require.Equal(t, got.ID(), below.ParentID())
	require.Equal(t, "no broker", below.Failure())
	require.Equal(t, parent[:36]+got.ID()+"-01", s.Parent())
	require.Eventually(t, func() bool { return counter("spans_exported_total", "") == 2 }, time.Minute, time.Millisecond)
}

func TestWhatIsTracedIsDecidedByTheParentOrElseByTheRatio(t *testing.T) {
	c := tracingtest.Start(t, "")
	none, unsampled, bad := tracing.Context{}, tracing.Context{Parent: parent[:53] + "00"}, tracing.Context{Parent: "x"}
	cases := map[string]struct {
		ratio   float64
		context tracing.Context
		want    bool
	}{
		"no context, ratio 0":        {0, none, false},
		"no context, ratio 1":        {1, none, true},
		"sampled, ratio 0":           {0, sampled, true},
		"not sampled, ratio 1":       {1, unsampled, false},
		"a wrong context, ratio 1":   {1, bad, false},
		"a state by itself, ratio 1": {1, tracing.Context{State: "a=b"}, true},
	}
	tracer, _ := start(t, tracing.Options{Endpoint: c.Endpoint()})
	for name, k := range cases {
		tracer.SetRatio(k.ratio)
		s := tracer.Begin("x", tracing.Consumer, k.context, time.Now())
		require.Equal(t, k.want, s != nil, name)
		s.End()
	}
	tracer.SetRatio(0.5)
	n := 0
	for range 1000 {
		if s := tracer.Root("x", tracing.Server, time.Now()); s != nil {
			n++
			s.End()
		}
	}
	require.Greater(t, n, 300)
	require.Less(t, n, 700)
}

func TestTracingThatIsOffOrNotDueAllocatesNothing(t *testing.T) {
	var off *tracing.Tracer
	c := tracingtest.Start(t, "")
	on, _ := start(t, tracing.Options{Endpoint: c.Endpoint()})
	unsampled := tracing.Context{Parent: parent[:53] + "00"}
	for _, tracer := range []*tracing.Tracer{off, on} {
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			for _, c := range []tracing.Context{{}, unsampled, {Parent: "x"}} {
				s := tracer.Begin("x", tracing.Consumer, c, time.Time{})
				s.Message("c", "t", 0, false, 0)
				s.Text("a", "b")
				s.Child("y", tracing.Internal, time.Time{}).End()
				s.Fail("z")
				s.End()
			}
		}))
	}
	off.SetRatio(1)
	off.SetSpanRate(1)
	off.Close(context.Background())
	require.False(t, off.On())
}

func TestTheSpansOfASecondAreBounded(t *testing.T) {
	c := tracingtest.Start(t, "")
	tracer, counter := start(t, tracing.Options{Endpoint: c.Endpoint(), SpanRate: 10})
	made := 0
	began := time.Now()
	for range 10_000 {
		if s := tracer.Begin("x", tracing.Consumer, sampled, time.Now()); s != nil {
			made++
			s.End()
		}
	}
	seconds := int(time.Since(began)/time.Second) + 2
	require.LessOrEqual(t, made, 11*seconds)
	require.GreaterOrEqual(t, made, 10)
	require.InDelta(t, 10_000-made, counter("spans_dropped_total", "rate"), 0)
}

func TestACollectorThatHangsDelaysNobodyAndWhatWaitsIsBounded(t *testing.T) {
	c := tracingtest.Start(t, "")
	tracer, counter := start(t, tracing.Options{Endpoint: c.Endpoint()})
	c.Hold.Lock()
	const spans = 10_000
	for range spans {
		tracer.Begin("x", tracing.Consumer, sampled, time.Now()).End()
	}
	dropped := counter("spans_dropped_total", "queue")
	require.Greater(t, dropped, 1000.0)
	c.Hold.Unlock()
	require.Eventually(t, func() bool {
		return counter("spans_exported_total", "") == spans-counter("spans_dropped_total", "queue")-counter("spans_dropped_total", "export")
	}, time.Minute, time.Millisecond)
}

func TestACollectorThatIsAwayIsOneLineOfTheLog(t *testing.T) {
	log := &testlog.Buffer{}
	address, err := freeport.Address()
	require.NoError(t, err)
	tracer, counter := start(t, tracing.Options{Endpoint: "http://" + address, RetryFor: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
	for i := range 2000 { // several batches
		tracer.Begin("x", tracing.Consumer, sampled, time.Now()).End()
		if i%1000 == 999 {
			lost := counter("spans_dropped_total", "export")
			require.Eventually(t, func() bool { return counter("spans_dropped_total", "export") > lost }, time.Minute, time.Millisecond)
		}
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "sending traces to the collector failed")
	require.Contains(t, log.String(), address)
	c := tracingtest.Start(t, address)
	require.Eventually(t, func() bool { // a span is lost while the connection waits for its next attempt
		tracer.Begin("back", tracing.Consumer, sampled, time.Now()).End()
		return len(c.Named("back")) > 0
	}, time.Minute, 10*time.Millisecond)
}

func TestWhatWaitsIsSentWhenTheTracerCloses(t *testing.T) {
	c := tracingtest.Start(t, "")
	tracer, counter := start(t, tracing.Options{Endpoint: c.Endpoint()})
	for range 1000 {
		tracer.Begin("x", tracing.Consumer, sampled, time.Now()).End()
	}
	tracer.SendLastFor(time.Minute) // on a busy machine the usual time is too short
	tracer.Close(context.Background())
	require.Len(t, c.Named("x"), 1000)
	require.InDelta(t, 1000, counter("spans_exported_total", ""), 0)
	require.NotPanics(t, func() { tracer.Begin("late", tracing.Consumer, sampled, time.Now()).End() })
}

func TestClosingDoesNotWaitForACollectorThatHangs(t *testing.T) {
	c := tracingtest.Start(t, "")
	tracer, _ := start(t, tracing.Options{Endpoint: c.Endpoint()})
	c.Hold.Lock()
	defer c.Hold.Unlock()
	tracer.Begin("x", tracing.Consumer, sampled, time.Now()).End()
	began := time.Now()
	tracer.Close(context.Background())
	require.Less(t, time.Since(began), 30*time.Second)
}
