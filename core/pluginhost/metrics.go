package pluginhost

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"
)

// metrics are the counters of all plugins of a host.
type metrics struct {
	up       *prometheus.GaugeVec
	restarts *prometheus.CounterVec
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	swaps    *prometheus.CounterVec
	memory   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lmqgate_plugin_up", Help: "1 while the plugin's process runs and answers calls.",
		}, []string{"plugin"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_plugin_restarts_total", Help: "Restarts of the plugin after a crash or a hang.",
		}, []string{"plugin"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmqgate_plugin_calls_total", Help: "Calls of the plugin, by method and gRPC status code.",
		}, []string{"plugin", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lmqgate_plugin_call_seconds", Help: "Duration of calls of the plugin, in seconds.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"plugin", "method"}),
	}
	m.swaps = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmqgate_plugin_swaps_total", Help: "Attempts to have the plugin take over from what ran before, by result.",
	}, []string{"plugin", "result"})
	m.memory = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lmqgate_plugin_memory_bytes", Help: "Memory of the plugin's process, without pages of files.",
	}, []string{"plugin"})
	if reg != nil {
		reg.MustRegister(m.up, m.restarts, m.calls, m.seconds, m.swaps, m.memory)
	}
	return m
}

func (m *metrics) call(plugin, method string, err error, took time.Duration) {
	m.calls.WithLabelValues(plugin, method, status.Code(err).String()).Inc()
	if took > 0 {
		m.seconds.WithLabelValues(plugin, method).Observe(took.Seconds())
	}
}

// begin shows what has not happened to a plugin yet as 0.
func (m *metrics) begin(plugin string) {
	m.restarts.WithLabelValues(plugin)
	for _, result := range []string{"done", "failed"} {
		m.swaps.WithLabelValues(plugin, result)
	}
}

// forget removes the metrics of a plugin that the gateway no longer has.
func (m *metrics) forget(plugin string) {
	m.up.DeleteLabelValues(plugin)
	m.memory.DeleteLabelValues(plugin)
}

func (m *metrics) swap(plugin string, err error) {
	result := "done"
	if err != nil {
		result = "failed"
	}
	m.swaps.WithLabelValues(plugin, result).Inc()
}
