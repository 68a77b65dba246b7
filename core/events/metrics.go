package events

import "github.com/prometheus/client_golang/prometheus"

// metrics of events; see docs/metrics.md for their meaning.
type metrics struct{ stored, leftOut prometheus.Counter }

func newMetrics(r prometheus.Registerer, l *Log) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "lmqgate", Subsystem: "events", Name: name, Help: help}
	}
	m := &metrics{
		stored:  prometheus.NewCounter(prometheus.CounterOpts(opts("stored_total", "Events that were stored."))),
		leftOut: prometheus.NewCounter(prometheus.CounterOpts(opts("left_out_total", "Events that were left out because too many waited, or because of their size."))),
	}
	if r != nil {
		r.MustRegister(m.stored, m.leftOut, prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("waiting", "Events that wait to be stored.")),
			func() float64 { return float64(l.left()) }))
	}
	return m
}
