package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/internal/wait"
)

// timed is a histogram that newLatencyCommand shows: what it measures, and by which labels.
type timed struct {
	step, metric string
	labels       []string
}

// timedSteps are in the order in which a client meets them; under each are the parts of it.
var timedSteps = []timed{
	{"CONNECT to CONNACK", "lmqgate_mqtt_connect_seconds", nil},
	{"  claim in the cluster", "lmqgate_cluster_claim_seconds", nil},
	{"PUBLISH to stored, QoS", "lmqgate_mqtt_publish_seconds", []string{"qos"}},
	{"  append to RocketMQ", "lmqgate_store_rocketmq_append_seconds", nil},
	{"publication to delivery", "lmqgate_sessions_delivery_seconds", nil},
	{"metadata write", "lmqgate_meta_write_seconds", nil},
	{"plugin", "lmqgate_plugin_call_seconds", []string{"plugin", "method"}},
}

// latency is one row of the command's output.
type latency struct {
	Step   string   `json:"step"`
	Metric string   `json:"metric"`
	Rate   float64  `json:"per_second"`
	Median *float64 `json:"median_seconds,omitempty"`
	P99    *float64 `json:"p99_seconds,omitempty"`
}

func newLatencyCommand(app *app) *cobra.Command {
	var flags adminFlags
	var form output
	var over time.Duration
	cmd := &cobra.Command{
		Use: "latency", Short: "Measure what is slow on a running gateway: connects, the store, deliveries, metadata, plugins",
		Long: "Reads the gateway's metrics twice, and shows what was measured between: how often, the median, and what one in a hundred\n" +
			"exceeds. With --over 0 it is everything since the gateway's start. Values are as exact as the histograms' buckets.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := form.json()
			if err != nil {
				return err
			}
			if over != 0 && (over < time.Second || over > time.Hour) {
				return usagef("--over wants 0, or a time from 1s to 1h, not %s", over)
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			before, err := c.metrics(cmd.Context())
			if err != nil {
				return err
			}
			var list []latency
			if over == 0 {
				list = latencies(nil, before, before.age())
			} else {
				began := time.Now()
				if err := wait.For(cmd.Context(), over); err != nil {
					return err
				}
				now, err := c.metrics(cmd.Context())
				if err != nil {
					return err
				}
				list = latencies(before, now, time.Since(began))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			if over != 0 && idle(list) {
				fmt.Fprintf(cmd.ErrOrStderr(), "no client did anything within %s; --over 0 shows everything since the gateway's start\n",
					over)
			}
			rows := make([][]any, 0, len(list))
			for _, l := range list {
				rows = append(rows, []any{l.Step, strconv.FormatFloat(l.Rate, 'f', 1, 64), seconds(l.Median), seconds(l.P99), l.Metric})
			}
			return printTable(cmd, []any{"STEP", "A SECOND", "MEDIAN", "99%", "METRIC"}, rows)
		},
	}
	flags.register(cmd, app)
	form.register(cmd)
	cmd.Flags().DurationVar(&over, "over", 5*time.Second, "how long to measure; 0: everything since the gateway's start")
	return cmd
}

// latencies compares two readings of the metrics. Histograms that the gateway does not have are left out.
func latencies(before, now readings, over time.Duration) []latency {
	out := []latency{}
	for _, s := range timedSteps {
		was := before.histograms(s.metric, s.labels)
		is := now.histograms(s.metric, s.labels)
		names := make([]string, 0, len(is))
		for name := range is {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			h := is[name].since(was[name])
			out = append(out, latency{Step: strings.TrimRight(s.step+" "+name, " "), Metric: s.metric, Rate: h.count() / over.Seconds(),
				Median: h.quantile(0.5), P99: h.quantile(0.99)})
		}
	}
	return out
}

// idle reports whether nothing of clients was measured; metadata and plugins have work of their own.
func idle(list []latency) bool {
	return !slices.ContainsFunc(list, func(l latency) bool {
		return l.P99 != nil && (strings.HasPrefix(l.Metric, "lmqgate_mqtt_") || strings.HasPrefix(l.Metric, "lmqgate_sessions_"))
	})
}

// seconds formats an optional number of seconds for a table.
func seconds(s *float64) string {
	switch {
	case s == nil:
		return "-"
	case *s < 0.001:
		return fmt.Sprintf("%.2f ms", *s*1000)
	case *s < 1:
		return fmt.Sprintf("%.1f ms", *s*1000)
	}
	return fmt.Sprintf("%.1f s", *s)
}
