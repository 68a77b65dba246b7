package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// readings are the values of a gateway's /metrics, by series: name{label="value",...}.
type readings map[string]float64

// metrics reads /metrics.
func (c *adminClient) metrics(ctx context.Context) (readings, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, adminMaxReply))
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", c.base, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, c.refused(resp, data)
	}
	return parseMetrics(data), nil
}

// parseMetrics reads Prometheus' text format, as the gateway writes it; what is not a series is passed over.
func parseMetrics(text []byte) readings {
	out := readings{}
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		line := in.Text()
		at := strings.LastIndexByte(line, ' ')
		if at <= 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			out[line[:at]] = v
		}
	}
	return out
}

// label returns the value of a label of a series; empty if it has none.
func label(series, name string) string {
	_, rest, ok := strings.Cut(series, name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// bucket is how many values a histogram has counted up to a bound.
type bucket struct{ le, count float64 }

// histogram has its buckets in order.
type histogram []bucket

// histograms returns the histograms of a metric, by the values of labels; other labels are summed up.
func (r readings) histograms(name string, labels []string) map[string]histogram {
	out := map[string]histogram{}
	for series, v := range r {
		if !strings.HasPrefix(series, name+"_bucket{") {
			continue
		}
		le, err := strconv.ParseFloat(label(series, "le"), 64) // takes +Inf as well
		if err != nil {
			continue
		}
		values := make([]string, 0, len(labels))
		for _, l := range labels {
			values = append(values, label(series, l))
		}
		key := strings.Join(values, " ")
		h := out[key]
		if i := slices.IndexFunc(h, func(b bucket) bool { return b.le == le }); i >= 0 {
			h[i].count += v
		} else {
			out[key] = append(h, bucket{le, v})
		}
	}
	for _, h := range out {
		slices.SortFunc(h, func(a, b bucket) int { return int(math.Copysign(1, a.le-b.le)) })
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
