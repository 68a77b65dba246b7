package backlog

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLabel bounds the value of a label, in bytes.
const maxLabel = 128

// metrics exports the latest Summary; see docs/metrics.md.
type metrics struct {
	c                                *Counter
	messages, behind, session, group *prometheus.Desc
	counted                          *prometheus.Desc
}

func newMetrics(c *Counter) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lmqgate_backlog_"+name, help, labels, nil)
	}
	return &metrics{c: c,
		messages: desc("messages", "Messages stored for durable sessions that this node counts, and not acknowledged."),
		behind:   desc("sessions", "Durable sessions that this node counts that have such messages."),
		session:  desc("session_messages", "Of the largest few, how many.", "client_id"),
		group:    desc("group_messages", "Messages that wait for a shared group, of the largest few.", "group"),
		counted:  desc("counted_timestamp_seconds", "When the last count ended."),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.messages, m.behind, m.session, m.group, m.counted} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	s := m.c.Latest()
	if s.At.IsZero() {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.messages, float64(s.Messages))
	gauge(m.behind, float64(s.Behind))
	gauge(m.counted, float64(s.At.UnixMilli())/1000)
	few := func(d *prometheus.Desc, counts []Count) {
		shown := make(map[string]bool)
		for _, c := range counts {
			label := strings.ToValidUTF8(c.Name[:min(len(c.Name), maxLabel)], "")
			if !shown[label] {
				shown[label] = true
				gauge(d, float64(c.Messages), label)
			}
		}
	}
	few(m.session, s.Sessions)
	few(m.group, s.Groups)
}
