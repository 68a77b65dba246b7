package rocketmq

import "github.com/prometheus/client_golang/prometheus"

// metrics of the store; see their help texts.
type metrics struct {
	inFlight  prometheus.Gauge
	stored    prometheus.Counter // of appends, by result
	failed    prometheus.Counter
	retries   prometheus.Counter
	seconds   prometheus.Histogram
	followUps prometheus.Counter
	unsynced  prometheus.Counter
	read      *prometheus.CounterVec
	lost      prometheus.Counter
	resets    prometheus.Counter
	broken    *prometheus.CounterVec
	foreign   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "lmqgate", Subsystem: "store_rocketmq", Name: n, Help: help}
	}
	appends := prometheus.NewCounterVec(prometheus.CounterOpts(name("appends_total", "Appends by result: stored or failed.")),
		[]string{"result"})
	m := &metrics{
		stored: appends.WithLabelValues("stored"), failed: appends.WithLabelValues("failed"),
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts(name("appends_in_flight", "Appends that are not answered yet."))),
		retries:   prometheus.NewCounter(prometheus.CounterOpts(name("append_retries_total", "Attempts to send after a failure."))),
		followUps: prometheus.NewCounter(prometheus.CounterOpts(name("follow_ups_total", "Follow-up records, of dispatch sets that do not fit one record."))),
		unsynced:  prometheus.NewCounter(prometheus.CounterOpts(name("unsynced_total", "Records that a broker stored while its slave was away."))),
		read:      prometheus.NewCounterVec(prometheus.CounterOpts(name("records_read_total", "Records read, by way: tail, read, or own (a tail's records that this node stored itself).")), []string{"way"}),
		lost:      prometheus.NewCounter(prometheus.CounterOpts(name("tail_records_lost_total", "Records that retention removed before a tail read them."))),
		resets:    prometheus.NewCounter(prometheus.CounterOpts(name("queue_resets_total", "Reads at an offset beyond the end of a queue, which has begun anew."))),
		broken: prometheus.NewCounterVec(prometheus.CounterOpts(name("records_unreadable_total",
			"Records that were skipped because of their compressed body, by reason: too_large (it inflates to more than a broker takes as a message) or malformed.")), []string{"reason"}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts(name("records_foreign_total",
			"Records that were passed over because their RocketMQ topic does not hold their first level: undecided transactions, retries, dead letters, delays, strangers. A record counts each time it is met."))),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "lmqgate", Subsystem: "store_rocketmq", Name: "append_seconds",
			Help:    "Time from append to answer, retries included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	for _, way := range []string{"tail", "read", "pop", "own"} {
		m.read.WithLabelValues(way)
	}
	for _, reason := range []string{"too_large", "malformed"} {
		m.broken.WithLabelValues(reason)
	}
	if r != nil {
		r.MustRegister(m.inFlight, appends, m.retries, m.followUps, m.unsynced, m.read, m.lost, m.resets, m.broken, m.foreign, m.seconds)
	}
	return m
}
