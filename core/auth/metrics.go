package auth

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters of one Auth.
type metrics struct {
	admitted, hits, misses, stale, undecided prometheus.Counter
	refused, denied                          *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, logins *turnstile) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "lmqgate_auth_" + name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lmqgate_auth_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		admitted:  counter("admitted_total", "Clients that were admitted."),
		refused:   vec("refused_total", "Clients that were refused, by reason.", "reason"),
		denied:    vec("denied_total", "Actions that the plugin denied, by action.", "action"),
		hits:      counter("decisions_cached_total", "Decisions answered from the cache."),
		misses:    counter("decisions_asked_total", "Decisions that the plugin was asked for."),
		stale:     counter("decisions_stale_total", "Expired decisions that were used because the plugin did not answer."),
		undecided: counter("undecided_total", "Actions refused because the plugin did not answer."),
	}
	for _, r := range []Reason{BadCredentials, NotAuthorized, BadClientID, Banned, Unavailable, BadMethod} {
		m.refused.WithLabelValues(r.String())
	}
	for _, k := range []ActionKind{Publish, Subscribe} {
		m.denied.WithLabelValues(k.String())
	}
	if reg != nil {
		reg.MustRegister(m.admitted, m.refused, m.denied, m.hits, m.misses, m.stale, m.undecided,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lmqgate_auth_logins_waiting",
				Help: "Logins that wait for their turn at the plugin."},
				func() float64 { waiting, _ := logins.state(); return float64(waiting) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lmqgate_auth_logins_limit", Help: "Logins that the plugin is asked about at a time, at most."},
				func() float64 { _, limit := logins.state(); return float64(limit) }))
	}
	return m
}

func (m *metrics) refuse(r Reason) { m.refused.WithLabelValues(r.String()).Inc() }
