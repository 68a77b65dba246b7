package limits

import "github.com/prometheus/client_golang/prometheus"

// Register registers the metrics of the process's memory; see docs/metrics.md for their meaning.
func (w *Watermark) Register(r prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "lmqgate", Subsystem: "memory", Name: name, Help: help}, value)
	}
	r.MustRegister(
		gauge("limit_bytes", "Soft limit of the process's memory.", func() float64 { return float64(w.Limit()) }),
		gauge("short", "1 while the process is short of memory.", func() float64 {
			if w.High() {
				return 1
			}
			return 0
		}))
}
