package delivery

import "github.com/prometheus/client_golang/prometheus"

// metrics of delivery; see docs/metrics.md for their meaning.
type metrics struct {
	tailed, refetched, gaps, repeated, expired, invalid prometheus.Counter
	// of shared groups
	groupHanded, groupAcked, groupReturned, groupAgain, groupLost prometheus.Counter
}

func newMetrics(r prometheus.Registerer, h *Hub) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "delivery", Name: name, Help: help})
	}
	m := &metrics{
		tailed:    counter("tailed_records_total", "Records that the tails brought."),
		refetched: counter("refetched_records_total", "Records read again from the store for readers that were behind."),
		gaps:      counter("offset_gaps_total", "Offsets of queues that turned out not to exist."),
		repeated:  counter("offset_repeats_total", "Records that came at an offset that another record has."),
		invalid:   counter("invalid_topics_total", "Records of RocketMQ producers whose topic is no MQTT topic name."),
		expired:   counter("expired_records_total", "Records that retention removed before a durable subscription read them."),

		groupHanded:   counter("group_handed_records_total", "Records of shared groups handed to members on this node."),
		groupAcked:    counter("group_acked_records_total", "Records of shared groups acknowledged to the store."),
		groupReturned: counter("group_returned_records_total", "Records of shared groups that a member gave back."),
		groupAgain:    counter("group_redelivered_records_total", "Records of shared groups that the store handed out not for the first time."),
		groupLost:     counter("group_lost_leases_total", "Records of shared groups that the store hands out anew while a member has them."),
	}
	if r != nil {
		gauge := func(name, help string, f func() float64) prometheus.Collector {
			return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "lmqgate", Subsystem: "delivery", Name: name, Help: help}, f)
		}
		r.MustRegister(m.tailed, m.refetched, m.gaps, m.repeated, m.expired, m.invalid, m.groupHanded, m.groupAcked, m.groupReturned,
			m.groupAgain, m.groupLost,
			gauge("groups", "Shared groups with members on this node.", func() float64 { return float64(h.groupCount()) }),
			gauge("buffered_bytes", "Approximate size of the records held in windows.", func() float64 { return float64(h.buffered.Load()) }),
			gauge("ahead_bytes", "Approximate size of the records that readers which are behind have read in advance.",
				func() float64 { return float64(h.ahead.Load()) }),
			gauge("sources", "Filters in use on this node.", func() float64 { h.mu.Lock(); defer h.mu.Unlock(); return float64(len(h.sources)) }),
			gauge("tails", "Tails that run.", func() float64 { h.mu.Lock(); defer h.mu.Unlock(); return float64(len(h.tails)) }))
	}
	return m
}
