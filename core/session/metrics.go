package session

import "github.com/prometheus/client_golang/prometheus"

// metrics of sessions; see docs/metrics.md for their meaning.
type metrics struct {
	sent                               [3]prometheus.Counter
	dropped, takeovers, expired, wills prometheus.Counter
	delivery                           prometheus.Histogram
	givenUp                            prometheus.Counter
	// overClient and overMemory are subscriptions that were refused because a client has as many as it may, or because of their memory.
	overClient, overMemory prometheus.Counter
}

func newMetrics(r prometheus.Registerer, m *Manager) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "sessions", Name: name, Help: help}
	}
	sent := prometheus.NewCounterVec(opts("delivered_messages_total", "Messages sent to clients, by delivered QoS."), []string{"qos"})
	refused := prometheus.NewCounterVec(opts("refused_subscriptions_total", "Subscriptions that were refused because there is no room."),
		[]string{"bound"})
	out := &metrics{
		overClient: refused.WithLabelValues("client"), overMemory: refused.WithLabelValues("memory"),
		dropped: prometheus.NewCounter(opts("dropped_records_total",
			"Records that slow QoS 0 subscriptions without a queue did not get, at most.")),
		takeovers: prometheus.NewCounter(opts("takeovers_total", "Connections closed because their client connected again.")),
		expired:   prometheus.NewCounter(opts("expired_total", "Sessions that ended because their client stayed away.")),
		givenUp: prometheus.NewCounter(opts("given_up_total",
			"Connections whose client left more unacknowledged than is kept in memory; it is read from the store again.")),
		wills: prometheus.NewCounter(opts("wills_published_total", "Wills published.")),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "lmqgate", Subsystem: "sessions", Name: "delivery_seconds",
			Help:    "From publication to delivery, of each 16th message sent to a client, those that waited for the client included.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600}}),
	}
	for i, q := range []string{"0", "1", "2"} {
		out.sent[i] = sent.WithLabelValues(q)
	}
	if r != nil {
		gauge := func(name, help string, value func() float64) {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), value))
		}
		gauge("connected", "Clients connected to this node.",
			func() float64 { m.mu.Lock(); defer m.mu.Unlock(); return float64(m.online) })
		gauge("subscriptions", "Subscriptions of the clients connected to this node.",
			func() float64 { return float64(m.subscriptionCount()) })
		gauge("subscription_memory_bytes", "Memory of subscriptions, large wills, long names and topic aliases of clients.",
			func() float64 { used, _ := m.room.used(); return float64(used) })
		gauge("kept_memory_bytes", "Memory of messages that clients have not acknowledged, kept to be sent again.",
			func() float64 { return float64(m.o.Kept.Used()) })
		r.MustRegister(sent, refused, out.dropped, out.takeovers, out.expired, out.givenUp, out.wills, out.delivery)
	}
	return out
}
