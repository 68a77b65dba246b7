package publish

import "github.com/prometheus/client_golang/prometheus"

// metrics of publishing; see docs/metrics.md for their meaning.
type metrics struct {
	stored, failed, refused, withheld prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "publish", Name: name, Help: help})
	}
	m := &metrics{
		stored:   counter("stored_total", "Messages that the store has confirmed."),
		failed:   counter("failed_total", "Messages that the store did not take in time."),
		refused:  counter("refused_total", "Messages refused because of their topic or size."),
		withheld: counter("withheld_total", "Messages that were not stored because their connection was over, or an earlier message of it was not stored."),
	}
	if r != nil {
		r.MustRegister(m.stored, m.failed, m.refused, m.withheld)
	}
	return m
}
