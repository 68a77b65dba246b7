package tracing

import "github.com/prometheus/client_golang/prometheus"

// metrics of tracing; see docs/metrics.md for their meaning.
type metrics struct {
	exported                        prometheus.Counter
	overRate, overQueue, overExport prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	exported := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "tracing", Name: "spans_exported_total",
		Help: "Spans that the collector has taken."})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "tracing", Name: "spans_dropped_total",
		Help: "Spans that are missing from the traces, by reason."}, []string{"reason"})
	m := &metrics{exported: exported, overRate: dropped.WithLabelValues("rate"), overQueue: dropped.WithLabelValues("queue"),
		overExport: dropped.WithLabelValues("export")}
	if r != nil {
		r.MustRegister(exported, dropped)
	}
	return m
}
