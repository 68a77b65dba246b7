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

// RegisterMetrics registers the gateway's own metrics, for tools that list them.
func RegisterMetrics(r prometheus.Registerer) { registerBuild(r, "", &config.Config{}) }
