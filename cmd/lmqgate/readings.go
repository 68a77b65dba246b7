package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// readings are a gateway's /metrics, by name.
type readings map[string]*dto.MetricFamily

// metrics reads /metrics.
func (c *adminClient) metrics(ctx context.Context) (readings, error) {
	data, err := c.exchange(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	r, err := parseMetrics(data)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", c.shown(), err)
	}
	return r, nil
}

// parseMetrics reads Prometheus' text format.
func parseMetrics(text []byte) (readings, error) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	return p.TextToMetricFamilies(bytes.NewReader(text))
}

// age is how long the process runs that was read; a second at least, also where it does not tell.
func (r readings) age() time.Duration {
	started := time.Now()
	for _, m := range r["process_start_time_seconds"].GetMetric() {
		started = time.UnixMilli(int64(1000 * m.GetGauge().GetValue()))
	}
	return max(time.Second, time.Since(started))
}

// bucket is how many values a histogram has counted up to a bound.
type bucket struct{ le, count float64 }

// histogram has its buckets in order.
type histogram []bucket

// histograms returns the histograms of a metric, by the values of labels; other labels are summed up.
func (r readings) histograms(name string, labels []string) map[string]histogram {
	out := map[string]histogram{}
	for _, m := range r[name].GetMetric() {
		values := make([]string, 0, len(labels))
		for _, l := range labels {
			i := slices.IndexFunc(m.GetLabel(), func(p *dto.LabelPair) bool { return p.GetName() == l })
			if i >= 0 {
				values = append(values, m.GetLabel()[i].GetValue())
			}
		}
		key := strings.Join(values, " ")
		h := out[key]
		for _, b := range m.GetHistogram().GetBucket() {
			count := float64(b.GetCumulativeCount())
			if i := slices.IndexFunc(h, func(have bucket) bool { return have.le == b.GetUpperBound() }); i >= 0 {
				h[i].count += count
			} else {
				h = append(h, bucket{b.GetUpperBound(), count})
			}
		}
		out[key] = h
	}
	return out
}

// since returns what was counted since an earlier reading.
func (h histogram) since(before histogram) histogram {
	out := slices.Clone(h)
	for i := range out {
		for _, b := range before {
			if b.le == out[i].le {
				out[i].count -= b.count
			}
		}
	}
	return out
}

func (h histogram) count() float64 {
	if len(h) == 0 {
		return 0
	}
	return max(0, h[len(h)-1].count)
}

// quantile estimates a quantile within its bucket; nil if nothing was counted.
func (h histogram) quantile(q float64) *float64 {
	total := h.count()
	if total == 0 {
		return nil
	}
	low, below := 0.0, 0.0
	for _, b := range h {
		if b.count >= q*total {
			if !math.IsInf(b.le, 1) && b.count > below {
				low += (b.le - low) * (q*total - below) / (b.count - below)
			}
			return &low
		}
		low, below = b.le, b.count
	}
	return &low
}
