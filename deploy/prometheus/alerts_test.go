package prometheus

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// step is the time between two readings, and between two evaluations of a rule.
const step = time.Minute

// sample is a reading of a metric.
type sample struct {
	at    int64 // milliseconds
	value float64
}

func (s sample) T() int64                    { return s.at }
func (s sample) F() float64                  { return s.value }
func (sample) H() *histogram.Histogram       { return nil }
func (sample) FH() *histogram.FloatHistogram { return nil }
func (sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample         { return s }

// readings are what Prometheus would have of the gateways: a storage in memory.
type readings []storage.Series

// read understands series as promtool's tests write them: `name{label="value"} 0+5x60` begins at 0 and grows by 5 for 60 steps, `_` is a
// reading that is missing.
func read(t *testing.T, text string) (out readings) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, values, err := parser.ParseSeriesDesc(strings.TrimSpace(line))
		require.NoError(t, err, line)
		var samples []chunks.Sample
		for i, v := range values {
			if !v.Omitted {
				samples = append(samples, sample{int64(i) * step.Milliseconds(), v.Value})
			}
		}
		out = append(out, storage.NewListSeries(name, samples))
	}
	return out
}

// Querier implements storage.Queryable.
func (r readings) Querier(_, _ int64) (storage.Querier, error) {
	return querier{storage.NoopQuerier(), r}, nil
}

type querier struct {
	storage.Querier
	all readings
}

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := slices.DeleteFunc(slices.Clone(q.all), func(s storage.Series) bool {
		return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) })
	})
	return &set{left: found}
}

type set struct {
	left []storage.Series
	at   storage.Series
}

func (s *set) Next() bool {
	if len(s.left) == 0 {
		return false
	}
	s.at, s.left = s.left[0], s.left[1:]
	return true
}
func (s *set) At() storage.Series              { return s.at }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }

// firing evaluates a rule once a step until a time, and returns the summaries of the alerts that fire then.
func firing(t *testing.T, r rulefmt.Rule, from readings, until time.Duration) (summaries []string) {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	query, err := engine.NewRangeQuery(t.Context(), from, nil, r.Expr, time.Unix(0, 0), time.Unix(0, 0).Add(until), step)
	require.NoError(t, err)
	defer query.Close()
	found, err := query.Exec(t.Context()).Matrix()
	require.NoError(t, err)
	for _, series := range found {
		since := until + step
		for _, p := range slices.Backward(series.Floats) {
			if at := time.Duration(p.T) * time.Millisecond; at == since-step {
				since = at
			}
		}
		if since > until || until-since < time.Duration(r.For) {
			continue
		}
		data := template.AlertTemplateData(series.Metric.Map(), nil, "", promql.Sample{Metric: series.Metric, F: series.Floats[len(series.Floats)-1].F})
		says, err := template.NewTemplateExpander(t.Context(), "{{$labels := .Labels}}{{$value := .Value}}"+r.Annotations["summary"], r.Alert, data,
			model.Time(until.Milliseconds()), nil, nil, []string{"missingkey=error"}).Expand()
		require.NoError(t, err)
		summaries = append(summaries, says)
	}
	slices.Sort(summaries)
	return summaries
}

// TestEachAlertFiresWhenItShouldAndOnlyThen has for each alert what makes it fire, on a and not on b, and what is too little or too short.
func TestEachAlertFiresWhenItShouldAndOnlyThen(t *testing.T) {
	cases := map[string]struct {
		until time.Duration
		fires string
		says  []string
		quiet string
	}{
		"LmqgateGone": { // a series is there for five minutes after its last reading
			until: 18 * time.Minute,
			fires: `lmqgate_build_info{instance="a",version="1"} 1x9
				lmqgate_build_info{instance="b",version="1"} 1x60`,
			says: []string{"a gives no metrics any more"},
			quiet: `lmqgate_build_info{instance="a",version="1"} 1x9 _x5
				lmqgate_build_info{instance="a",version="2"} _x9 1x60`,
		},
		"LmqgateNotStored": {
			until: 10 * time.Minute,
			fires: `lmqgate_publish_failed_total{instance="a"} 0+6x60
				lmqgate_publish_failed_total{instance="b"} 5x60`,
			says:  []string{"a does not get messages stored; publishers get no acknowledgements"},
			quiet: `lmqgate_publish_failed_total{instance="a"} 0x9 9x60`,
		},
		"LmqgateMessagesExpired": {
			until: 10 * time.Minute,
			fires: `lmqgate_delivery_expired_records_total{instance="a"} 0x7 100x60`,
			says:  []string{"Sleeping sessions lose messages: the store's retention removed them before they were read"},
			quiet: `lmqgate_delivery_expired_records_total{instance="a"} 100x60`,
		},
		"LmqgatePluginDown": {
			until: 10 * time.Minute,
			fires: `lmqgate_plugin_up{instance="a",plugin="auth-hmac"} 1x5 0x60
				lmqgate_plugin_up{instance="a",plugin="meta-etcd"} 1x60`,
			says:  []string{"The plugin auth-hmac of a does not run"},
			quiet: `lmqgate_plugin_up{instance="a",plugin="auth-hmac"} 1x9 0x60`,
		},
		"LmqgateMetadataStale": {
			until: 10 * time.Minute,
			fires: `lmqgate_meta_synced_timestamp_seconds{instance="a",namespace="filters"} 60x60
				lmqgate_meta_synced_timestamp_seconds{instance="b",namespace="filters"} 0+60x60`,
			says:  []string{"a has not heard from its metadata backend for two minutes"},
			quiet: `lmqgate_meta_synced_timestamp_seconds{instance="a",namespace="filters"} 480x60`,
		},
		"LmqgateMemoryShort": {
			until: 10 * time.Minute,
			fires: `lmqgate_memory_short{instance="a"} 1x60`,
			says:  []string{"a is short of memory and admits no clients"},
			quiet: `lmqgate_memory_short{instance="a"} 0x6 1x60`,
		},
		"LmqgateDiskFills": { // 100 GB, 5 GB an hour less
			until: 6 * time.Hour,
			fires: `lmqgate_local_store_free_bytes{instance="a"} 1e11-83333333x400`,
			says:  []string{"The disk of the local store of a will be full within a day"},
			quiet: `lmqgate_local_store_free_bytes{instance="a"} 1e11-33333333x400`,
		},
		"LmqgateDiskFull": {
			until: 10 * time.Minute,
			fires: `lmqgate_local_store_free_bytes{instance="a"} 134217728x60`,
			says:  []string{"The disk of the local store of a has 128MiB left"},
			quiet: `lmqgate_local_store_free_bytes{instance="a"} 536870912x60`,
		},
		"LmqgateBrokerDiskFills": { // half of it, 2% an hour more
			until: 6 * time.Hour,
			fires: `lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="a"} 0.5+0.00034x400
				lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="b"} 0.5+0.00034x400`,
			says:  []string{"The disk of broker x will be more than 85% full within a day"},
			quiet: `lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="a"} 0.5+0.0001x400`,
		},
		"LmqgateBrokerDiskFull": {
			until: 20 * time.Minute,
			fires: `lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="a"} 0.88x60
				lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="b"} 0.88x60`,
			says:  []string{"The disk of broker x is 88% full"},
			quiet: `lmqgate_store_rocketmq_disk_used_ratio{broker="x",instance="a"} 0.8x60`,
		},
		"LmqgateMetadataFull": {
			until: 20 * time.Minute,
			fires: `lmqgate_meta_fill_ratio{instance="a",resource="sessions"} 0.9x60
				lmqgate_meta_fill_ratio{instance="a",resource="filters"} 0.1x60`,
			says:  []string{"sessions of a: 90% of what the metadata may have is used"},
			quiet: `lmqgate_meta_fill_ratio{instance="a",resource="sessions"} 0.8x60`,
		},
		"LmqgateConnectionsFull": {
			until: 20 * time.Minute,
			fires: `lmqgate_mqtt_connections_fill_ratio{instance="a"} 0.9x60
				lmqgate_mqtt_connections_fill_ratio{instance="b"} 0.1x60`,
			says:  []string{"a has 90% of the connections that it may have"},
			quiet: `lmqgate_mqtt_connections_fill_ratio{instance="a"} 0.8x60`,
		},
		"LmqgateBacklogGrows": { // messages a minute
			until: 4 * time.Hour,
			fires: `lmqgate_backlog_messages{instance="a"} 0+2000x300`,
			says:  []string{"What waits for sessions of a grows by over 100,000 messages an hour"},
			quiet: `lmqgate_backlog_messages{instance="a"} 5000000+1000x300`,
		},
		"LmqgateQoS0Dropped": {
			until: 30 * time.Minute,
			fires: `lmqgate_sessions_dropped_records_total{instance="a"} 0+1x60`,
			says:  []string{"QoS 0 subscribers of a are too slow and do not get everything"},
			quiet: `lmqgate_sessions_dropped_records_total{instance="a"} 0x20 0+1x60`,
		},
		"LmqgateRefusesConnects": {
			until: 30 * time.Minute,
			fires: `lmqgate_mqtt_refused_connects_total{instance="a",reason="not authorized"} 0+90x60
				lmqgate_mqtt_refused_connects_total{instance="a",reason="server busy"} 0+9x60`,
			says:  []string{"a refuses clients: not authorized"},
			quiet: `lmqgate_mqtt_refused_connects_total{instance="a",reason="not authorized"} 0+50x60`,
		},
		"LmqgatePublishSlow": {
			until: 30 * time.Minute,
			fires: `lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="1"} 0+900x60
				lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="2.5"} 0+1000x60
				lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="+Inf"} 0+1000x60`,
			says: []string{"One in a hundred messages to a takes over a second to be stored"},
			quiet: `lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="1"} 0+995x60
				lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="2.5"} 0+1000x60
				lmqgate_mqtt_publish_seconds_bucket{instance="a",qos="1",le="+Inf"} 0+1000x60`,
		},
	}
	tested := map[string]bool{}
	for _, r := range rules(t) {
		c, ok := cases[r.Alert]
		require.True(t, ok, "%s has no case", r.Alert)
		tested[r.Alert] = true
		t.Run(r.Alert, func(t *testing.T) {
			require.Equal(t, c.says, firing(t, r, read(t, c.fires), c.until))
			require.Empty(t, firing(t, r, read(t, c.quiet), c.until))
		})
	}
	for name := range cases {
		require.True(t, tested[name], "there is no alert %s", name)
	}
}
