package mqttload

import (
	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is the result of one run. Rates and latencies cover the measured time, without the warm-up.
type Result struct {
	Scenario string `json:"scenario"`
	Target   string `json:"target"`
	// Seconds is the length of the measured time.
	Seconds float64 `json:"seconds"`
	// PublishRate is acknowledged messages per second (QoS 0: sent), Rate delivered messages per second. In conn and sleep Rate is
	// connections per second.
	PublishRate float64 `json:"publish_rate,omitempty"`
	Rate        float64 `json:"rate"`
	// Missing is how many copies of acknowledged messages (QoS 0: of sent ones) did not arrive; Reordered is how many arrived after a later
	// message of their publisher, or twice.
	Missing   int64 `json:"missing"`
	Reordered int64 `json:"reordered"`
	// Delivery is the time from PUBLISH to its delivery or, in conn and sleep, from the first byte to SUBACK. catchup has none.
	Delivery *Latency `json:"delivery_ms,omitempty"`
	// Answer is the time from PUBLISH to PUBACK or PUBREC or, in conn and sleep, from the first byte to CONNACK.
	Answer *Latency `json:"answer_ms,omitempty"`
}

// Latency holds percentiles in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func latency(h *hdrhistogram.Histogram) *Latency {
	if h == nil {
		return nil
	}
	ms := func(percentile float64) float64 { return float64(h.ValueAtQuantile(percentile)) / 1000 }
	return &Latency{P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: float64(h.Max()) / 1000}
}

func (r *run) result() *Result {
	out := &Result{Scenario: r.s.Name, Target: r.t.Name, Seconds: r.seconds, Rate: float64(r.delivered.Load()) / r.seconds,
		Reordered: r.reordered.Load(), Delivery: latency(r.delivery.sum()), Answer: latency(r.answer.sum())}
	if r.s.copies == nil {
		return out
	}
	out.Missing = max(0, r.sent.Load()*int64(r.s.copies(&r.p))-r.arrived.Load())
	switch {
	case r.s.Name == "catchup":
	case r.p.QoS == 0:
		out.PublishRate = float64(r.published.Load()) / r.seconds
	default:
		out.PublishRate = float64(r.acked.Load()) / r.seconds
	}
	return out
}
