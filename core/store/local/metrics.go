package local

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appends  prometheus.Counter
	refused  prometheus.Counter
	batches  prometheus.Counter
	expired  prometheus.Counter
	tailLost prometheus.Counter
	tailDisk prometheus.Counter
}

// newMetrics makes the store's metrics and registers them; reg may be nil. free returns the free bytes on its disk.
func newMetrics(reg prometheus.Registerer, free func() float64) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "local_store", Name: name, Help: help})
	}
	m := &metrics{
		appends:  counter("appended_records_total", "Records stored and acknowledged."),
		refused:  counter("refused_appends_total", "Appends that failed."),
		batches:  counter("commits_total", "Group commits; appended records per commit show how well appends are grouped."),
		expired:  counter("expired_records_total", "Records removed by retention."),
		tailLost: counter("tail_lost_records_total", "Records that retention removed before a slow tail had read them."),
		tailDisk: counter("tail_disk_reads_total", "Reads from disk for tails that were slower than appends."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.appends, m.refused, m.batches, m.expired, m.tailLost, m.tailDisk,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "lmqgate", Subsystem: "local_store", Name: "free_bytes",
			Help: "Free on the disk that the store is on; NaN where that cannot be told."}, free)} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
