package cluster

import "github.com/prometheus/client_golang/prometheus"

// metrics of the cluster; see docs/metrics.md for their meaning.
type metrics struct {
	claims, yields, left prometheus.Counter
	waited               prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "cluster", Name: name, Help: help}
	}
	m := &metrics{
		claims: prometheus.NewCounter(opts("claims_total", "Connections that waited for their client id to be granted.")),
		yields: prometheus.NewCounter(opts("yields_total", "Connections that were given up because their client connected to another node.")),
		left:   prometheus.NewCounter(opts("messages_left_out_total", "Messages to other nodes that were left out because too many waited.")),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "lmqgate", Subsystem: "cluster", Name: "claim_seconds",
			Help:    "How long connections waited for their client id.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}}),
	}
	if r != nil {
		r.MustRegister(m.claims, m.yields, m.left, m.waited)
	}
	return m
}
