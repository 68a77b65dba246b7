package gateway

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/config"
)

// registerBuild registers what says which release runs, and on what.
func registerBuild(r prometheus.Registerer, version string, c *config.Config) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lmqgate_build_info", Help: "1; the labels say what runs."},
		[]string{"version", "goversion", "store", "meta", "auth"})
	info.WithLabelValues(version, runtime.Version(), c.Store.Type, c.Meta.Plugin, c.Auth.Plugin).Set(1)
	r.MustRegister(info)
}

// RegisterMetrics registers the metrics of the gateway itself, for whoever lists them.
func RegisterMetrics(r prometheus.Registerer) { registerBuild(r, "", &config.Config{}) }
