package meta

import "github.com/prometheus/client_golang/prometheus"

// metrics are the package's metrics.
type metrics struct {
	keys     *prometheus.GaugeVec
	synced   *prometheus.GaugeVec
	resyncs  *prometheus.CounterVec
	errors   *prometheus.CounterVec
	writes   prometheus.Histogram
	batch    prometheus.Histogram
	invalid  *prometheus.CounterVec
	retired  prometheus.Counter
	refilled prometheus.Counter
	// conflicts counts writes of sessions that were repeated because the session had changed meanwhile.
	conflicts prometheus.Counter
	// retainedRefused counts retained messages for which there was no room.
	retainedRefused prometheus.Counter
	// quotaRefused counts refusals because of a quota.
	quotaRefused *prometheus.CounterVec
}

// newMetrics makes the metrics and registers them with r unless r is nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lmqgate_meta_keys", Help: "Keys held in memory, by namespace.",
		}, []string{"namespace"}),
		synced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lmqgate_meta_synced_timestamp_seconds",
			Help: "When the snapshot of a namespace was last known to be current (a listing, a watch event or a poll).",
		}, []string{"namespace"}),
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_meta_listings_total", Help: "Whole listings of a namespace.",
		}, []string{"namespace"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_meta_errors_total", Help: "Calls of the meta plugin that failed, by operation.",
		}, []string{"operation"}),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lmqgate_meta_write_seconds", Help: "Time from asking for a write until it is durable.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lmqgate_meta_write_batch_operations", Help: "Operations that shared one write.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8),
		}),
		invalid: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_meta_invalid_values_total", Help: "Values that could not be read and were passed over, by namespace.",
		}, []string{"namespace"}),
		retired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmqgate_meta_filters_retired_total", Help: "Filters that this node retired because nothing durable uses them.",
		}),
		refilled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmqgate_meta_filters_restored_total", Help: "Filters that vanished while in use here and were registered again.",
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmqgate_meta_conflicts_resolved_total",
			Help: "Writes of sessions that were repeated because an older connection, or a write without an answer, had come in between.",
		}),
		retainedRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmqgate_meta_retained_refused_total", Help: "Retained messages that were not retained because they may take no more memory.",
		}),
		quotaRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_meta_quota_refused_total", Help: "What clients wanted to add to the metadata and was refused, by what it is and whose share is used up.",
		}, []string{"resource", "share"}),
	}
	for _, operation := range []string{"get", "list", "put", "batch", "watch"} {
		m.errors.WithLabelValues(operation)
	}
	for _, resource := range []string{countSessions, countFilters, countRetained, countTopics, countWills} {
		for _, share := range []string{"the client", "the identity", "the cluster"} {
			m.quotaRefused.WithLabelValues(resource, share)
		}
	}
	for _, ns := range []string{NamespaceUpstream, NamespaceTopics, NamespaceFilters, NamespaceRetained, NamespaceNodes, NamespaceBans} {
		m.invalid.WithLabelValues(ns)
		m.resyncs.WithLabelValues(ns)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.keys, m.synced, m.resyncs, m.errors, m.writes, m.batch, m.invalid, m.retired, m.refilled,
		m.conflicts, m.retainedRefused, m.quotaRefused} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
