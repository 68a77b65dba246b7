package gateway

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/config"
)

// registerBuild registers the metric that says which release runs, and with which store and plugins.
func registerBuild(r prometheus.Registerer, version string, c *config.Config) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lmqgate_build_info", Help: "1; the labels say what runs."},
		[]string{"version", "goversion", "store", "meta", "auth"})
	info.WithLabelValues(version, runtime.Version(), c.Store.Type, c.Meta.Plugin, c.Auth.Plugin).Set(1)
	r.MustRegister(info)
}

// brokerDisks makes the metric of the brokers' disks, which set replaces.
func brokerDisks(r prometheus.Registerer) (set func(map[string]float64)) {
	used := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "lmqgate", Subsystem: "store_rocketmq", Name: "disk_used_ratio",
		Help: "How full the disk of a broker is, from 0 to 1, as the broker said at the last check."}, []string{"broker"})
	r.MustRegister(used)
	var before map[string]float64
	return func(disks map[string]float64) {
		for broker, ratio := range disks {
			used.WithLabelValues(broker).Set(ratio)
		}
		for broker := range before {
			if _, there := disks[broker]; !there {
				used.DeleteLabelValues(broker)
			}
		}
		before = disks
	}
}

// RegisterMetrics registers the gateway's own metrics, for tools that list them.
func RegisterMetrics(r prometheus.Registerer) {
	registerBuild(r, "", &config.Config{})
	brokerDisks(r)
}
