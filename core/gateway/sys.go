package gateway

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/mqtt"
)

// sysTopics returns a function that computes the values of the topics below $SYS from the node's metrics.
func (g *Gateway) sysTopics() func() []mqtt.SysValue {
	s := &sysValues{registry: g.registry, version: g.version, started: g.started}
	return s.get
}

// sysFresh is how old values may be, because clients can ask for them as often as they like.
const sysFresh = time.Second

// sysValues computes the values from the metrics and caches them.
type sysValues struct {
	registry prometheus.Gatherer
	version  string
	started  time.Time

	mu      sync.Mutex
	at      time.Time
	values  []mqtt.SysValue
	maximum float64 // of connected clients
	loads   map[string]*load
}

// load is a rate as mosquitto shows it: events per minute, as a moving average over 1, 5 and 15 minutes.
type load struct {
	last    float64
	average [3]float64
}

var loadMinutes = [3]float64{1, 5, 15}

// step processes a reading of a counter, taken some time after the previous one.
func (l *load) step(now float64, after time.Duration) {
	rate := (now - l.last) / after.Minutes()
	l.last = now
	for i, m := range loadMinutes {
		keep := math.Exp(-after.Minutes() / m)
		l.average[i] = l.average[i]*keep + rate*(1-keep)
	}
}

// sums adds up the series of each metric under "name", and those with a given label value under "name{value}". For a metric with two labels
// it also has sums under both values: "name{direction,type}".
func sums(registry prometheus.Gatherer) map[string]float64 {
	out := make(map[string]float64)
	families, _ := registry.Gather() // Gather returns what it could gather, even with an error
	for _, f := range families {
		for _, m := range f.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			name := f.GetName()
			out[name] += v
			var labels []string
			for _, l := range m.GetLabel() {
				out[name+"{"+l.GetValue()+"}"] += v
				labels = append(labels, l.GetValue())
			}
			if len(labels) == 2 {
				out[name+"{"+strings.Join(labels, ",")+"}"] += v
			}
		}
	}
	return out
}

// get returns the values, at most sysFresh old.
func (s *sysValues) get() []mqtt.SysValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	since := now.Sub(s.at)
	if since < sysFresh {
		return s.values
	}
	m := sums(s.registry)
	connected := m["lmqgate_sessions_connected"]
	s.maximum = max(s.maximum, connected)
	const packets, bytes = "lmqgate_mqtt_packets_total", "lmqgate_mqtt_packet_bytes_total"
	out := []mqtt.SysValue{{Topic: "$SYS/broker/version", Payload: "lmqgate version " + s.version},
		{Topic: "$SYS/broker/uptime", Payload: strconv.Itoa(int(now.Sub(s.started).Seconds())) + " seconds"}}
	number := func(name string, v float64) {
		out = append(out, mqtt.SysValue{Topic: "$SYS/broker/" + name, Payload: strconv.FormatFloat(v, 'f', 0, 64)})
	}
	number("clients/connected", connected)
	number("clients/active", connected)
	number("clients/maximum", s.maximum)
	number("clients/expired", m["lmqgate_sessions_expired_total"])
	number("messages/received", m[packets+"{in}"])
	number("messages/sent", m[packets+"{out}"])
	number("bytes/received", m[bytes+"{in}"])
	number("bytes/sent", m[bytes+"{out}"])
	number("publish/messages/received", m[packets+"{in,PUBLISH}"])
	number("publish/messages/sent", m[packets+"{out,PUBLISH}"])
	number("publish/messages/dropped", m["lmqgate_sessions_dropped_records_total"])
	number("publish/bytes/received", m[bytes+"{in,PUBLISH}"])
	number("publish/bytes/sent", m[bytes+"{out,PUBLISH}"])
	number("subscriptions/count", m["lmqgate_sessions_subscriptions"])
	number("shared_subscriptions/count", m["lmqgate_delivery_groups"])
	number("retained messages/count", m["lmqgate_meta_keys{"+meta.NamespaceRetained+"}"])
	number("heap/current", m["go_memstats_heap_alloc_bytes"])
	for _, l := range []struct{ name, of string }{
		{"connections", "lmqgate_mqtt_connects_total"}, {"messages/received", packets + "{in}"}, {"messages/sent", packets + "{out}"},
		{"publish/received", packets + "{in,PUBLISH}"}, {"publish/sent", packets + "{out,PUBLISH}"},
		{"publish/dropped", "lmqgate_sessions_dropped_records_total"},
		{"bytes/received", bytes + "{in}"}, {"bytes/sent", bytes + "{out}"},
	} {
		if s.loads == nil {
			s.loads = make(map[string]*load)
		}
		had := s.loads[l.name]
		if had == nil {
			had = &load{last: m[l.of]}
			s.loads[l.name] = had
		}
		if !s.at.IsZero() {
			had.step(m[l.of], since)
		}
		for i, minutes := range []string{"1min", "5min", "15min"} {
			out = append(out, mqtt.SysValue{Topic: "$SYS/broker/load/" + l.name + "/" + minutes,
				Payload: strconv.FormatFloat(had.average[i], 'f', 2, 64)})
		}
	}
	s.at, s.values = now, out
	return out
}
